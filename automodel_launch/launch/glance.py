"""One look at a job that runs, or has ended: how far it is, what was launched, its attempts, what it has warned of.

All files are read in one round trip.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.backends import noise
from automodel_launch.config import dotted
from automodel_launch.jobs import history, strays
from automodel_launch.jobs.jobdir import JobDir, parse, phase_of
from automodel_launch.jobs.records import Record, Status, is_whole
from automodel_launch.launch import rank_times, resume, speed, state
from automodel_launch.launch.quiet import Quiet, noise_named
from automodel_launch.launch.rank_times import SlowRank
from automodel_launch.launch.speed import Speed
from automodel_launch.launch.tails import as_text
from automodel_launch.remote.filesystem import FileRead

_METRICS = 2**16  # bytes: some 300 steps
_LOG = 2**14
_WARNS = re.compile(r"warn|error|exception|nan\b|inf\b|retry|timed? ?out", re.I)
_CONSTANT = (contract.PLAN, contract.AGENT, contract.GIT_COMMIT)


@dataclass(frozen=True)
class Launched:
    """What was launched: `command` as it can be typed again, but for keys that it had removed, `data` its paths.

    `commit` is of the code, `changed` whether there were changes that were not committed.
    """

    command: str
    recipe: str
    config: str
    profile: str
    overrides: tuple[str, ...] = ()
    nodes: int | None = None
    processes: int | None = None
    data: tuple[str, ...] = ()
    commit: str | None = None
    changed: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return {**self.__dict__, "overrides": list(self.overrides), "data": list(self.data)}


@dataclass(frozen=True)
class Glance:
    """`steps` are the last training steps of metrics.jsonl, `nodes` those of the last attempt."""

    speed: Speed
    launched: Launched
    phase: tuple[str, float | None] | None
    attempts: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    nodes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    resumes: bool = True  # nothing is known that `resume` would refuse for good
    slow_rank: SlowRank | None = None


class Looker:
    """Looks at one job again and again; what never changes is read once, and parsed once."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._job = JobDir(record.job_dir, executors.get(record.executor).place_of(record))
        self._launched: Launched | None = None
        self._noise = noise.NONE
        self._on_each: object = None  # ranks of a node
        self._phase_since: tuple[str, float] | None = None
        self._events = 0  # bytes of events.jsonl at the last look
        self.tells_news = False  # at the last look its own files told of a change: its state is worth a question

    def look(self, status: Status) -> Glance:
        """What its files tell now; `status` is its state.

        Raises:
            ClusterError: its place cannot be reached.
        """
        job, first = self._job, self._launched is None
        wanted = [(job.file(contract.METRICS), -_METRICS), (job.file(contract.node_file(0)), 0)]
        wanted += [(f"{self.record.run_dir}/{contract.HISTORY}", -history.TAIL), (job.log(0), -_LOG)]
        wanted += [(job.file(contract.EVENTS), -1), (job.file(contract.RANK_TIMES), -rank_times.TAIL)]
        wanted += [(job.file(name), -1) for name in resume.NEEDED]
        wanted += [*((job.file(name), 0) for name in _CONSTANT), (job.file(contract.GIT_DIFF), -1)] if first else []
        found = job.place.read_many(wanted)
        if self._launched is None:
            plan, order, commit = (each[0] if each else b"" for each in found[-4:-1])
            ordered = parse(order) or {}
            self._noise = noise_named(ordered) if ordered else noise.NONE
            self._on_each = ordered.get("nproc_per_node")
            changed = bool(found[-1] and found[-1][1])
            self._launched = _launched(self.record, parse(plan) or {}, ordered, commit, changed)
        events = found[4][1] if found[4] else 0
        self._events, self.tells_news = events, not first and events != self._events
        metrics, node, told, log = ((each[0], each[1]) if each else (b"", 0) for each in found[:4])
        rows = speed.rows(metrics[0], whole=metrics[1] <= _METRICS)
        attempts = history.closed(history.parsed(told[0]), self.record.job_id, status)
        resumable, running = executors.get(self.record.executor).resumable, status.state == contract.RUNNING
        own = [row for row in attempts if row["job_id"] == self.record.job_id]
        return Glance(
            replace(speed.of(self.record, status, rows, time.time()), earlier=max(0, len(own) - 1)),
            self._launched,
            self._phase(phase_of(parse(node[0]))) if running else None,
            attempts,
            strays.without(speed.steps(rows), status.started),
            own[-1]["nodes"] if own else [],
            self._warnings(log[0]),
            resumable and all(each is not None for each in found[6 : 6 + len(resume.NEEDED)]),
            self._slow(found[5], parse(node[0]) or {}, own[-1]["nodes"] if own else []) if running else None,
        )

    def _slow(self, tail: FileRead, node: dict[str, Any], nodes: list[str]) -> SlowRank | None:
        """The rank that is slow in this attempt."""
        since, on_each = node.get("started"), self._on_each
        if not tail or not isinstance(since, (int, float)):
            return None
        return rank_times.slow_rank(tail[0], since, nodes, on_each if is_whole(on_each) else None)

    def _phase(self, found: tuple[str, float | None] | None) -> tuple[str, float | None] | None:
        """Its heartbeat is slow: within a phase the clock here goes on."""
        if found is None or found[1] is None:
            return found
        since = time.monotonic() - found[1]
        if self._phase_since is None or self._phase_since[0] != found[0]:
            self._phase_since = found[0], since
        return found[0], time.monotonic() - self._phase_since[1]

    def _warnings(self, log: bytes) -> list[str]:
        """Lines of rank 0's log that warn, but for its backend's noise; each once, the last one at the end."""
        quiet = Quiet(self._noise)
        kept: dict[str, None] = {}
        for raw in log.split(b"\n")[1:]:
            line = as_text(raw)
            shown = quiet.line(line)
            if shown == line and _WARNS.search(line):  # a step is shown in another form
                kept.pop(line, None)
                kept[line] = None
        return list(kept)


def _launched(record: Record, plan: dict[str, Any], order: dict[str, Any], commit: bytes, changed: bool) -> Launched:
    typed = tuple(dict.fromkeys(_overrides(plan)))
    words = [*state.typed(record), f"--{record.mode}", record.profile]
    own_name = record.run_name.startswith(f"{record.recipe}-{record.config}-")
    words += [] if own_name else ["--name", record.run_name]
    begun = _from(plan.get("origin"))
    words += begun if not {*begun} & {*words} else []  # `evaluate RUN:STEP` has it already
    after = plan.get("after")
    words += ["--after", ",".join(map(str, after))] if isinstance(after, list) and after else []
    return Launched(
        shlex.join(["python", "launch.py", *words, *typed]),
        record.recipe,
        record.config,
        record.profile,
        typed,
        plan.get("nodes") if isinstance(plan.get("nodes"), int) else None,
        plan.get("world_size") if isinstance(plan.get("world_size"), int) else None,
        tuple(_data(order)),
        commit.decode("utf-8", "replace").strip() or None,
        changed,
    )


def _from(origin: Any) -> list[str]:
    told = origin if isinstance(origin, dict) else {}
    run, step = told.get("run_name"), told.get("step")
    return ["--from", f"{run}:{step}"] if isinstance(run, str) and isinstance(step, int) else []


def _overrides(plan: dict[str, Any]) -> Iterator[str]:
    """The words of the command line that set a key, by the sources that the plan names."""
    config, profile = plan.get("provenance"), plan.get("profile_sources")
    for source in config.values() if isinstance(config, dict) else ():
        parts = [part for part in str(source).split(", over ") if part.startswith("override ")]
        yield from (part.removeprefix("override ") for part in reversed(parts))
    values = plan.get("profile_values")
    for key, source in profile.items() if isinstance(profile, dict) else ():
        if str(source).startswith("override "):
            value = dotted.get(values, key) if isinstance(values, dict) else None
            yield f"run.env.{key}={value if isinstance(value, str) else json.dumps(value)}"


def _data(order: dict[str, Any]) -> Iterator[str]:
    """The data that it trains on: paths, with their form."""
    data = order.get("data")
    named = data.get("named") if isinstance(data, dict) else None
    for entry in named if isinstance(named, list) else ():
        if isinstance(entry, list) and entry:
            yield entry[-1] if isinstance(entry[-1], str) else f"several paths ({entry[0]})"
