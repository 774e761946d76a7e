"""The process that tells one tracker of a job's metrics.jsonl, from where the attempt before has come to.

How far that was stands in RUN_DIR/tracked-NAME.json, by job, and what keeps one run of the tracker over all of them.
It ends when its standard input does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import Any

import contract

from . import redaction
from .error_line import error_line
from .files import Json, as_number, as_whole, parse, read_json, write_json
from .trackers import Sink, open_sink

_LOOK_S = 2.0
_CHUNK = 1 << 22


def main(target: str, job_dir: str, run_dir: str, run_name: str) -> int:
    """The process itself; what a tracker raises is told once, in the agent's log, and ends it."""
    redaction.arm_environment(os.environ)
    os.nice(10)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the job's end: what is left is still to be sent
    name = target.partition(":")[0]
    path = os.path.join(run_dir, f"tracked-{name}.json")
    kept = read_json(path) or {}
    state = {"id": kept.get("id"), "taken": kept["taken"] if isinstance(kept.get("taken"), dict) else {}}
    try:
        with open_sink(target, run_dir, run_name, state) as sink:
            write_json(path, state)
            _follow(sink, job_dir, path, state)
    except Exception as error:  # of any tracker's own kind
        print(f"track {target}: {error_line(error)}; the job goes on without", file=sys.stderr, flush=True)
        return 1
    return 0


def _follow(sink: Sink, job_dir: str, path: str, state: dict[str, Any]) -> None:
    job = os.path.basename(job_dir)
    metrics = os.path.join(job_dir, contract.METRICS)
    ending = False
    offset = state["taken"].get(job, 0)
    offset = offset if isinstance(offset, int) else 0
    while True:
        found, taken = new_rows(metrics, offset)
        if found:
            sink.log(found)
            state["taken"][job] = taken
            write_json(path, state)
        elif taken == offset:
            if ending:
                return
            ending = bool(select.select([sys.stdin], [], [], _LOOK_S)[0])
        offset = taken


def new_rows(path: str, offset: int) -> tuple[list[Json], int]:
    """Of one piece from `offset` on the complete lines that tell a step, and where the next piece begins.

    That is `offset` itself where nothing complete is left. A line that is longer than a piece is none of a step.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(_CHUNK)
    except OSError:
        return [], offset
    whole, newline, _ = data.rpartition(b"\n")
    if not newline:
        return [], offset + (len(data) if len(data) == _CHUNK else 0)
    # not splitlines, which splits at U+2028 as well
    rows = [parse(line) for line in whole.decode("utf-8", "replace").split("\n")]
    return [row for row in rows if row and _is_step(row)], offset + len(whole + newline)


def _is_step(row: Json) -> bool:
    return as_whole(row.get("step")) is not None and as_number(row.get("time")) is not None
