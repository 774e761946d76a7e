"""Facts about files that a plan names. Collected once a plan, on the machine or cluster where the job will run.

On this machine by calling probe.py, on a cluster by sending it there in the round trip that other questions take too.
The answer has the same form.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automodel_launch.backends.data import probe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.mounts import pairs
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import LATE, Result, Results

HERE_S = 20.0  # a file system that does not answer ends the probe here, too
THERE_S = 6.0  # less than probes.EACH_S, so that the facts collected in time come back
MOST = 60_000  # characters of a request: it goes through command lines, of which one word may have 128 KiB
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")

_NAME = "data"  # of the question in the round trip
_ENDING = "print(json.dumps(answer(json.loads(sys.argv[1]))))\n"

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What to collect facts about, all by absolute paths.

    Attributes:
        blends: JSON files that name prefixes.
        globs: patterns of Megatron .bin files.
        pairs: prefixes of Megatron .bin and .idx files.
        shards: patterns of nanoGPT .bin files; with `bos` their .bos.idx matter.
        folders: directories of tokenizers and models.
        writable: directories that the job writes.
        tokenizers: tokenizer.json files to compare with the ones that made the data.
    """

    blends: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    tokenizers: tuple[str, ...] = ()
    bos: bool = False

    @property
    def empty(self) -> bool:
        """There is nothing to ask; tokenizers are only compared where there are data."""
        return not any((self.blends, self.globs, self.pairs, self.shards, self.folders, self.writable))


@dataclass(frozen=True)
class DataFacts:
    """`answer` is that of probe.answer; a path that it says nothing about was not asked for, or the time was over."""

    answer: Mapping[str, Mapping[str, Facts]]

    def about(self, kind: str, path: str) -> Facts:
        """The facts about a path; `elsewhere` where it could not be reached."""
        return self.answer.get(kind, {}).get(path, {"elsewhere": True})

    @property
    def records(self) -> Iterator[tuple[str, Facts]]:
        """(blend or directory, what data-prep has recorded of it)."""
        return ((path, record) for path, record in self.answer.get("records", {}).items() if record)


def here(plan: Plan, request: Request) -> DataFacts:
    """The facts on this machine; a shard is read once for all that is asked of a plan."""
    return DataFacts(probe.answer(message(plan, request, HERE_S), plan.seen.facts))


def questions(plan: Plan, request: Request) -> dict[str, str]:
    """The same as a script for bash on the cluster; none where there is nothing to ask, or too much."""
    text = json.dumps(message(plan, request, THERE_S), separators=(",", ":"))
    if request.empty or len(text) > MOST:
        return {}
    script = Path(probe.__file__).read_text() + _ENDING
    return {_NAME: f"python3 -c {shlex.quote(script)} {shlex.quote(text)}"}


def answered(plan: Plan, request: Request, results: Results) -> tuple[DataFacts, Finding | None]:
    """The facts in the answer; none of them, and a note, where there is no answer."""
    facts: DataFacts | str = DataFacts({})
    if len(json.dumps(message(plan, request, THERE_S))) > MOST:
        facts = "the config names more files than can be asked for at once; a blend.json can name any number"
    elif not request.empty:
        facts = _read(results[_NAME])
    if isinstance(facts, DataFacts):
        return facts, None
    text = f"the data and directories on the cluster were not looked at: {facts}."
    return DataFacts({}), Finding("note", "not-looked-at", text)


def _read(answer: Result) -> DataFacts | str:
    """The answer, or why there is none."""
    try:
        return DataFacts(json.loads(answer.text.rpartition("\n")[2]))
    except ValueError:
        pass
    if answer.code == LATE:
        return answer.brief
    return "the login node has no python3 on its PATH" if answer.code == 127 else answer.brief


Check = Callable[[Plan, DataFacts], Iterator[Finding]]


@dataclass(frozen=True)
class Look:
    """A backend's checks of facts, and what the facts are collected about: one probe a plan, here or there."""

    request: Callable[[Plan], Request]
    checks: tuple[Check, ...]

    def here(self, plan: Plan) -> Iterator[Finding]:
        """What the checks find where this machine sees the job's files."""
        if plan.visible:
            yield from self._judged(plan, here(plan, self.request(plan)))

    def questions(self, plan: Plan) -> dict[str, str]:
        """The probe as a question to a cluster whose files this machine does not see."""
        return {} if plan.visible else questions(plan, self.request(plan))

    def judge(self, plan: Plan, results: Results) -> Iterator[Finding]:
        """What they find in its answer."""
        if not plan.visible:
            data, unanswered = answered(plan, self.request(plan), results)
            if unanswered:
                yield unanswered
            yield from self._judged(plan, data)

    def _judged(self, plan: Plan, data: DataFacts) -> Iterator[Finding]:
        for check in self.checks:
            yield from check(plan, data)


def message(plan: Plan, request: Request, seconds: float) -> dict[str, Any]:
    """What probe.answer takes. What another job makes before this one begins is not asked for."""
    wanted = {
        key: [path for path in value if not plan.missing(path)] if isinstance(value, tuple) else value
        for key, value in asdict(request).items()
    }
    return {
        **wanted,
        "mounts": pairs(plan.mounts),
        "seconds": seconds,
        "wanted": ["config.json", *TOKENIZER_FILES],
        "recorded": [manifest.get("tokenizer") for manifest in plan.artifacts.values()],
    }
