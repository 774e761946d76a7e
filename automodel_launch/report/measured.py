"""What a run has measured so far, as far as the cadence of its checkpoints needs it: from the ends of its files.

The history, and of the newest job that has logged steps metrics, phases and events: read here, or printed by one
script of bash where only the cluster sees them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import history
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import is_number, is_time, is_whole
from automodel_launch.remote.filesystem import FileSystem

_BYTES = {contract.METRICS: 2**16, contract.PHASES: 2**17, contract.EVENTS: 2**16}  # of the end of each
_TAIL = 2**18  # bytes of the history that come over a connection: some 600 attempts
_MARK = "@@ "
_FAILURES = frozenset({contract.FAILED, contract.NODE_FAIL, contract.OUT_OF_MEMORY})


@dataclass(frozen=True)
class Measured:
    """Seconds: of a step, of a save, from getting nodes to the first step; `trained` of all attempts that took steps.

    `failures` are ends that nobody had foreseen, of attempts that took steps; `step` is the last one that was logged.
    """

    step_s: float
    save_s: float
    restart_s: float
    trained_s: float
    failures: int
    step: int


def question(run_dir: str) -> str:
    """A script for bash that prints the ends of the files."""
    lines = [f"d={shlex.quote(run_dir)}; echo '{_MARK}{contract.HISTORY}'"]
    lines.append(f'tail -c {_TAIL} "$d/{contract.HISTORY}" 2>/dev/null')
    lines.append(f'm=$(ls -td "$d".[0-9]*/{contract.METRICS} 2>/dev/null | head -n 1)')
    for name, size in _BYTES.items():
        lines.append(f'echo; echo "{_MARK}{name}"; tail -c {size} "${{m%/*}}/{name}" 2>/dev/null')
    lines.append('echo; echo "@@ job"; n=${m%/*}; echo "{\\"job_id\\": \\"${n##*/}\\"}"')
    return "\n".join(lines)


def answered(text: str) -> Measured | None:
    """From what that script has printed."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            lines = parts.setdefault(line[len(_MARK) :], [])
        else:
            lines.append(line)
    objects = {name: [found for line in lines if (found := parse(line))] for name, lines in parts.items()}
    job = next((entry.get("job_id") for entry in objects.pop("job", ())), None)
    return _of(objects, str(job))


def here(run_dir: str, place: FileSystem) -> Measured | None:
    """The same of a run whose files this machine sees."""
    found = place.read(f"{run_dir}/{contract.HISTORY}", -history.TAIL)
    if found is None:
        return None
    root, _, name = run_dir.rpartition("/")
    numbers = [int(n.rpartition(".")[2]) for n in place.names(root) if re.fullmatch(re.escape(name) + r"\.\d{1,9}", n)]
    objects = {contract.HISTORY: _objects(found[0])}
    for number in sorted(numbers, reverse=True):
        folder = f"{run_dir}.{number}"
        read = {file: place.read(f"{folder}/{file}", -size) for file, size in _BYTES.items()}
        if read[contract.METRICS]:
            objects |= {file: _objects(content[0]) for file, content in read.items() if content}
            return _of(objects, f"{name}.{number}")
    return None


def _objects(content: bytes) -> list[dict[str, Any]]:
    return [entry for line in content.splitlines() if (entry := parse(line))]


def _of(objects: Mapping[str, list[dict[str, Any]]], job_id: str) -> Measured | None:
    """None where a step, a save or a start was never seen: nothing is guessed."""
    import statistics  # which imports random and decimal

    attempts = history.merged(objects.get(contract.HISTORY, []))
    metrics = [row for row in objects.get(contract.METRICS, []) if "loss" in row and is_whole(row.get("step"))]
    metrics = [row for row in metrics if is_time(row.get("time"))]
    steps = list(_steps(metrics))
    if not steps:
        return None
    step_s = statistics.median(steps)
    saves = list(_saves(objects.get(contract.PHASES, []), step_s))
    starts = list(_starts(attempts, objects.get(contract.EVENTS, []), job_id))
    if not saves or not starts or step_s <= 0:
        return None
    trained = sum(seconds for row in attempts if (seconds := _lasted(row)) is not None)
    failures = sum(row.get("state") in _FAILURES and is_whole(row.get("to_step")) for row in attempts)
    save_s, start_s = statistics.median(saves), statistics.median(starts)
    return Measured(step_s, save_s, start_s, trained, failures, metrics[-1]["step"])


def _steps(metrics: list[dict[str, Any]]) -> Iterator[float]:
    """Seconds a step between two lines; a backend may log each tenth one only."""
    for before, row in pairwise(metrics):
        if row["step"] > before["step"] and row["time"] > before["time"]:
            yield (row["time"] - before["time"]) / (row["step"] - before["step"])


def _saves(phases: list[dict[str, Any]], step_s: float) -> Iterator[float]:
    """Seconds of each save: as a rank has told them, else to the line that came next, without its step."""
    saves = [entry for entry in phases if entry.get("phase") == contract.PHASE_SAVING]
    saves = [entry for entry in saves if is_time(entry.get("since")) and is_time(entry.get("until"))]
    told = [entry for entry in saves if entry.get("by") != contract.BY_LOG]
    for entry in told or saves:
        yield max(0.0, entry["until"] - entry["since"] - (0.0 if told else step_s))


def _starts(attempts: list[dict[str, Any]], events: list[dict[str, Any]], job_id: str) -> Iterator[float]:
    """Seconds from its nodes to its first step, of each attempt of that job."""
    began = {row["attempt"]: row for row in attempts if row["job_id"] == job_id and is_time(row.get("began"))}
    for event in events:
        number = event.get("attempt")
        row = began.get(number) if is_whole(number) else None
        if event.get("state") == contract.EVENT_TRAINING and row and is_time(event.get("time")):
            yield max(0.0, event["time"] - row["began"]) + history.before_s(row)


def _lasted(row: Mapping[str, Any]) -> float | None:
    """Seconds of an attempt that took steps."""
    if not is_whole(row.get("to_step")):
        return None
    if is_number(row.get("allocated_s")):
        return float(row["allocated_s"])
    began, ended = row.get("began"), row.get("ended")
    return max(0.0, ended - began) if is_time(began) and is_time(ended) else None
