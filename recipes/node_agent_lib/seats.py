"""Which nodes train, of a Slurm job that has spare ones (`spares` of the profile).

    JOB_DIR/.seats-N        of attempt N, where a node was replaced before it: the nodes in the order of their ranks,
                            the spares that are left, and the nodes that are lost. Only one process can make it
    JOB_DIR/.over-N         attempt N was the last one of this Slurm job: every keeper ends
    JOB_DIR/keepers/HOST    what the keeper of a node says of itself; its time is the sign of life
    JOB_DIR/keepers/.script the same of the batch script, which keeps it new in the background

Without .seats-N an attempt begins with the job's first nodes as Slurm numbers them, and the last ones are the spares.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass
from typing import Mapping

import contract

from .files import create_json, read_json, write_json
from .nodes import expand
from .spec import SpecError

KEEPERS = "keepers"
BATCH_SCRIPT = ".script"  # among the names of hosts
_SCRIPT_EVERY_S = 5
_SEATS, _OVER = "seats", "over"
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Seats:
    """Host names, in Slurm's words. `nodes` by rank."""

    attempt: int
    nodes: tuple[str, ...]
    spares: tuple[str, ...]
    lost: tuple[str, ...] = ()

    def rank(self, host: str) -> int | None:
        """The rank of a node, None where it does not train."""
        return self.nodes.index(host) if host in self.nodes else None

    def without(self, lost: list[str], spares: list[str]) -> Seats:
        """The next attempt's: each lost node's rank goes to a spare; contract: there are enough of these."""
        taking = iter([host for host in self.spares if host in spares])
        nodes = tuple(next(taking) if host in lost else host for host in self.nodes)
        left = tuple(host for host in self.spares if host not in nodes and host not in lost)
        return Seats(self.attempt + 1, nodes, left, (*self.lost, *lost))


def hosts(environ: Mapping[str, str]) -> list[str]:
    """All nodes of the job's step, in Slurm's order."""
    return expand(environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "")


def first(environ: Mapping[str, str], nnodes: int, attempt: int) -> Seats:
    """Those with which the Slurm job begins.

    Raises:
        SpecError: it has fewer nodes than the training needs.
    """
    found = hosts(environ)
    if len(found) < nnodes:
        raise SpecError(f"the training needs {nnodes} nodes, and SLURM_JOB_NODELIST has {len(found)}")
    return Seats(attempt, tuple(found[:nnodes]), tuple(found[nnodes:]))


def latest(job_dir: str, known: Seats) -> Seats:
    """Those that count now, from what was known before."""
    while True:
        raw = read_json(_path(job_dir, _SEATS, known.attempt + 1))
        if raw is None:
            return known
        known = Seats(known.attempt + 1, tuple(raw["nodes"]), tuple(raw["spares"]), tuple(raw["lost"]))


def put(job_dir: str, seats: Seats) -> bool:
    """From now on these count; False where another process was first.

    Raises:
        OSError: they cannot be written.
    """
    return create_json(_path(job_dir, _SEATS, seats.attempt), asdict(seats), _PATIENCE_S)


def is_over(job_dir: str, attempt: int) -> bool:
    """Whether that attempt was the last one of the Slurm job."""
    return os.path.exists(_path(job_dir, _OVER, attempt))


def end(job_dir: str, attempt: int) -> None:
    """It was. An empty file, for which a full disk has room: without it every node would be held until the time limit.

    Raises:
        OSError: it cannot be made.
    """
    os.close(os.open(_path(job_dir, _OVER, attempt), os.O_WRONLY | os.O_CREAT, 0o644))


def _path(job_dir: str, what: str, attempt: int) -> str:
    return os.path.join(job_dir, contract.between_agents(what, attempt))


@dataclass(frozen=True)
class Report:
    """What a keeper says: of which attempt, and how that attempt's agent has ended there.

    `code` None: it runs, or there is none. `recorded`: the agent has written down how it ended. `gone`: the keeper has
    ended.
    """

    attempt: int
    code: int | None = None
    recorded: bool = False
    gone: bool = False


def report(job_dir: str, host: str, said: Report) -> None:
    """Say it; the file's time is new.

    Raises:
        OSError: it cannot be written.
    """
    write_json(report_path(job_dir, host), {**asdict(said), "slurm_id": _slurm_id()}, durably=False)


def read_report(job_dir: str, host: str) -> Report | None:
    """What the keeper of that node has said last in this Slurm job; None where it has said nothing."""
    raw = read_json(report_path(job_dir, host))
    if raw is None or raw.pop("slurm_id", None) != _slurm_id():
        return None
    return Report(**raw)


def report_path(job_dir: str, host: str) -> str:
    """JOB_DIR/keepers/HOST"""
    return os.path.join(job_dir, KEEPERS, host)


def exports(job_dir: str) -> list[str]:
    """Shell lines for the batch script, by which keepers see that it is there: `--no-kill` keeps a job without one."""
    os.makedirs(os.path.join(job_dir, KEEPERS), exist_ok=True)
    path = shlex.quote(report_path(job_dir, BATCH_SCRIPT))
    beat = f"while kill -0 $$; do touch {path}; sleep {_SCRIPT_EVERY_S}; done"
    return [f"({beat}) </dev/null >/dev/null 2>&1 &"]


def _slurm_id() -> str:
    return f"{os.environ.get('SLURM_JOB_ID', '')}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
