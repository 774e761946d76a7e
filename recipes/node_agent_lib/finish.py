"""Writing exit.json: by the last agent that ends, or by `finish` from a batch script's EXIT trap."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, Iterable

from . import procs
from .files import Json, append_json, create_json, read_json, write_json
from .log import complain
from .nodes import host_name
from .records import NodeRecord, exit_path, read_nodes
from .verdict import complete, judge

_PATIENCE_S = 30.0
_LATE_NODES_S = 5.0  # a network file system shows another node's file late


def settle(job_dir: str, nodes: list[NodeRecord], nnodes: int, code: int | None = None) -> Json:
    """Write exit.json from these records and return what it holds; every writer but the first leaves it as it is.

    An exit.json that was written while nodes were missing is replaced once all of them have ended.
    """
    verdict = judge(nodes, nnodes, code)
    path = exit_path(job_dir)
    if create_json(path, verdict, _PATIENCE_S):
        _announce(job_dir, verdict)
        return verdict
    present = read_json(path)
    if present is not None and (present.get("complete") or not verdict["complete"]):
        return present
    write_json(path, verdict, _PATIENCE_S)
    return verdict


def _announce(job_dir: str, verdict: Json) -> None:
    details = {key: verdict[key] for key in ("code", "signal", "rank", "node", "error", "step")}
    event = {"time": time.time(), "state": "ended", "result": verdict["state"], **details}
    with contextlib.suppress(OSError):  # exit.json tells the same
        append_json(os.path.join(job_dir, "events.jsonl"), [event])


def main(job_dir: str, code: int | None) -> int:
    """The `finish` command: exit with the job's code, 2 where there is no such job."""
    if not os.path.isdir(job_dir):
        complain(f"{job_dir}: no such job directory")
        return 2
    present = read_json(exit_path(job_dir))
    whole = present is not None and bool(present.get("complete"))
    nodes = read_nodes(job_dir) if whole else _wait_for_late(job_dir)
    nnodes = max((node.nnodes for node in nodes), default=1)
    if not (under_slurm() and _may_come_again(nodes, nnodes)):
        remove_secrets({node.secrets_file for node in nodes if node.secrets_file}, complain)
    if present is not None and whole:
        return int(present["code"])
    try:
        return int(settle(job_dir, nodes, nnodes, code)["code"])
    except OSError as error:
        complain(f"exit.json cannot be written: {error}")
        return code or 1


def _wait_for_late(job_dir: str) -> list[NodeRecord]:
    deadline = time.monotonic() + _LATE_NODES_S
    while True:
        nodes = read_nodes(job_dir)
        if not nodes or complete(nodes, nodes[0].nnodes) or time.monotonic() > deadline or _all_dead_here(nodes):
            return nodes
        time.sleep(0.5)


def _all_dead_here(nodes: list[NodeRecord]) -> bool:
    """Whether every agent was of this host and is dead: then nothing is late."""
    host = host_name(os.environ)
    return len(nodes) == nodes[0].nnodes and all(
        node.host == host and not procs.alive(node.agent_pid, node.agent_start) for node in nodes
    )


def under_slurm() -> bool:
    """Whether this process belongs to a Slurm job."""
    return "SLURM_JOB_ID" in os.environ


def _may_come_again(nodes: list[NodeRecord], nnodes: int) -> bool:
    """Whether Slurm may requeue the job: it was stopped from outside, or a node is gone.

    Its next attempt needs the secrets again. Who asks for the job's state once it is over for good removes them.
    """
    return not complete(nodes, nnodes) or any(node.stop for node in nodes)


def remove_secrets(paths: Iterable[str], say: Callable[[str], None]) -> None:
    """Remove files of secrets; `say` is told of one that stays."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            say(f"{path}: not removed: {error.strerror}")


def set_aside(job_dir: str) -> None:
    """A requeued job starts anew in its directory: its former exit.json must not be taken for the new one."""
    path = exit_path(job_dir)
    present = read_json(path)
    if present is not None:
        os.replace(path, os.path.join(job_dir, "exit-{}.json".format(present.get("attempt", 0))))
