"""The agent's private directory, through which it and the ranks' workers talk: context.json and a record a rank."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass

import contract

from .files import remove, when_full, write_json
from .records import RankRecord, read_rank

ALIVE = "alive"  # a pipe that the agent holds open for as long as it lives
CONTEXT = "context.json"
_ROOM = 1 << 16  # a traceback and a line of the log are some KiB
_NO_RESTARTS = "no-restarts"


@dataclass
class Context:
    """What the agent tells its workers, as context.json."""

    job_dir: str
    host: str
    backend: str = contract.AUTOMODEL
    copy: str | None = None  # of the job's code, from which the ranks import it instead; None: they read code/ itself


def write_context(directory: str, context: Context) -> None:
    """Called once by the agent, before any worker starts."""
    write_json(os.path.join(directory, CONTEXT), asdict(context))


def record_path(directory: str, rank: int) -> str:
    """Where a rank's record lies."""
    return os.path.join(directory, f"rank-{rank}.json")


def keep_room(directory: str, rank: int) -> None:
    """Room for the rank's last record, where a full disk of the node has none: files.when_full gives it up."""
    path = os.path.join(directory, f"room-{rank}")
    with contextlib.suppress(OSError), open(path, "wb") as file:
        file.write(os.urandom(_ROOM))
        file.flush()
        when_full(lambda: remove(path))


def error_path(directory: str, rank: int) -> str:
    """Where a rank notes the exception that has left its script."""
    return os.path.join(directory, f"error-{rank}.json")


def forbid_restarts(directory: str) -> None:
    """Ranks that ft_launcher starts from now on end at once, and leave the records as they are."""
    with contextlib.suppress(OSError):
        os.close(os.open(os.path.join(directory, _NO_RESTARTS), os.O_CREAT | os.O_WRONLY, 0o600))


def restarts_forbidden(directory: str) -> bool:
    """Whether somebody has forbidden them."""
    return os.path.exists(os.path.join(directory, _NO_RESTARTS))


def ranks_found(directory: str) -> tuple[int, ...]:
    """The ranks that have a record."""
    numbers = (name[len("rank-") : -len(".json")] for name in os.listdir(directory) if name.startswith("rank-"))
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))


def read_records(directory: str, ranks: tuple[int, ...]) -> list[RankRecord]:
    """The records that exist so far."""
    found = (read_rank(record_path(directory, rank)) for rank in ranks)
    return [record for record in found if record is not None]
