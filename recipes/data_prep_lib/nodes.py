"""Many nodes: one process of the recipe a node, RANK of WORLD_SIZE as the node agent sets them; no server.

Each node plans the same shards from the same input (agreement.py) and takes what no other has (claims.py), until all
are made: whoever dies, the others finish. Then one of them, behind a lock, writes what is left: valid and test pairs,
blend.json.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_prep_lib.claims import NO_LOCKS, holder, try_lock
from data_prep_lib.errors import ConfigError, DataPrepError

TELL = 30.0  # seconds between two lines of who waits
_POLL = (0.05, 2.0)  # between two looks at a lock: at first, and at most
_PARTS = 64


@dataclass(frozen=True)
class Node:
    """This process's place among those that work on one output; `part`: of a job beside others, which come and go."""

    rank: int = 0
    world: int = 1
    part: int | None = None

    @property
    def alone(self) -> bool:
        return self.world == 1 and self.part is None

    @property
    def name(self) -> str:
        """Unique among those that work at once."""
        return str(self.rank) if self.part is None else f"{self.part}.{self.rank}"

    @property
    def turn(self) -> tuple[int, int]:
        """(k, n): it begins with every n-th shard, from the k-th on. How many parts there are nobody knows."""
        return (self.rank, self.world) if self.part is None else ((self.part * self.world + self.rank) % _PARTS, _PARTS)


def of_environment(environ: Mapping[str, str], part: int | None = None) -> Node:
    """The node agent's RANK and WORLD_SIZE; a process started by hand is alone, unless it is a `part`."""
    rank, world = environ.get("RANK", "0"), environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise ConfigError(f"RANK={rank!r}, WORLD_SIZE={world!r}: no rank of a number of nodes\n  unset both")
    return Node(int(rank), int(world), part)


@contextmanager
def locked(state: Path, node: Node, say: Callable[[str], None], clean: Callable[[], None]) -> Iterator[None]:
    """Keep other runs off the output that `state` lies in. Nodes of one job share a lock, and each has one of its own.

    `clean` is called where nobody else is there: what lies about then is of processes that were killed.
    """
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            _lock(stack, state / "lock", fcntl.LOCK_EX if node.alone else fcntl.LOCK_SH)
            if node.alone:
                clean()
            else:
                _lock(stack, state / f"lock.{node.name}", fcntl.LOCK_EX)
                with one_at_a_time(state, node, say):
                    _join(stack, state / "lock.nodes", clean)
        except BlockingIOError:
            raise DataPrepError(f"output_dir: another run is writing to {state.parent}\n  wait for it to end") from None
        except OSError as e:
            if e.errno not in NO_LOCKS:
                raise
            say(f"{state}: this file system has no locks; see to it that no other run writes here")
        yield


def _join(stack: ExitStack, path: Path, clean: Callable[[], None]) -> None:
    file = _lock(stack, path, fcntl.LOCK_SH)
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clean()
    fcntl.flock(file, fcntl.LOCK_SH)  # a failed conversion may have lost the lock that was there


@contextmanager
def one_at_a_time(state: Path, node: Node, say: Callable[[str], None]) -> Iterator[None]:
    """What only one node does at once; the others wait, and say for whom."""
    with ExitStack() as stack:
        if not node.alone:
            try:
                stack.enter_context(_turn(state / "lock.finish", say))
            except OSError as e:
                if e.errno not in NO_LOCKS:
                    raise
        yield


def _turn(path: Path, say: Callable[[str], None]) -> IO[bytes]:
    pause, began, told = _POLL[0], time.monotonic(), 0.0
    while (file := try_lock(path)) is None:
        waited = time.monotonic() - began
        if waited - told > TELL:
            told = waited
            say(f"waiting for {holder(path) or 'another node'}, for {waited:.0f} s: it plans, or finishes the output")
        time.sleep(pause)
        pause = min(_POLL[1], pause * 1.3)
    return file


def _lock(stack: ExitStack, path: Path, kind: int) -> IO[bytes]:
    file = stack.enter_context(open(path, "a+b"))  # noqa: SIM115  # NFS wants reading for a shared lock, writing for the other
    fcntl.flock(file, kind | fcntl.LOCK_NB)
    return file
