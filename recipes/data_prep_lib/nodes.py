"""Many nodes: one process of the recipe a node, RANK of WORLD_SIZE as the node agent sets them; no server.

Each node plans the same shards from the same input and takes its share of them, by a rule that knows nothing of what is
done already: nodes that see each other's receipts late then still agree. Who finds every shard done writes what is left
(valid and test pairs, blend.json), behind a lock. Node 0 waits for the others' receipts before it ends: a node whose
view of the shared file system lags behind may think that it was not the last, and one of them must be. When a node
fails, its agent ends the job, and the next attempt goes on with the shards that have no receipt.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from data_prep_lib.errors import ConfigError, DataPrepError
from data_prep_lib.layout import Layout
from data_prep_lib.shards import Shard

T = TypeVar("T")

_POLL = (0.2, 5.0)  # seconds between two looks at the others' receipts: at first, and at most
_TELL = 30.0
# A file system without locks: Lustre mounted without -o flock, some FUSE ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Node:
    """This process's place among those that work on one output."""

    rank: int = 0
    world: int = 1

    @property
    def alone(self) -> bool:
        return self.world == 1

    def share(self, shards: Sequence[Shard]) -> set[str]:
        """Names of this node's shards: the largest first, each to the node that has the fewest bytes so far."""
        load = [(0, rank) for rank in range(self.world)]
        mine = set()
        for shard in sorted(shards, key=lambda shard: (-shard.size, shard.name)):
            size, rank = load[0]
            heapq.heapreplace(load, (size + shard.size, rank))
            if rank == self.rank:
                mine.add(shard.name)
        return mine


def of_environment(environ: Mapping[str, str]) -> Node:
    """The node agent's RANK and WORLD_SIZE; a process started by hand is alone."""
    rank, world = environ.get("RANK", "0"), environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise ConfigError(f"RANK={rank!r}, WORLD_SIZE={world!r}: no rank of a number of nodes\n  unset both")
    return Node(int(rank), int(world))


@contextmanager
def locked(layout: Layout, node: Node, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs off this output. Nodes of one job share a lock, and each has one of its own beside it."""
    layout.state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            _lock(stack, layout.state / "lock", fcntl.LOCK_EX if node.alone else fcntl.LOCK_SH)
            if not node.alone:
                _lock(stack, layout.state / f"lock.{node.rank}", fcntl.LOCK_EX)
        except BlockingIOError:
            raise DataPrepError(f"output_dir: another run is writing to {layout.root}\n  wait for it to end") from None
        except OSError as e:
            if e.errno not in _NO_LOCKS:
                raise
            say(f"{layout.state}: this file system has no locks; see to it that no other run writes here")
        yield


@contextmanager
def one_at_a_time(layout: Layout, node: Node) -> Iterator[None]:
    """What only one node does at once; the others wait."""
    with ExitStack() as stack:
        if not node.alone:
            try:
                _lock(stack, layout.state / "lock.finish", fcntl.LOCK_EX, wait=True)
            except OSError as e:
                if e.errno not in _NO_LOCKS:
                    raise
        yield


def _lock(stack: ExitStack, path: Path, kind: int, wait: bool = False) -> None:
    file = stack.enter_context(open(path, "a+b"))  # noqa: SIM115  # NFS wants reading for a shared lock, writing for the other
    fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)


def wait_for(is_done: Callable[[T], bool], pending: Sequence[T], say: Callable[[str], None]) -> None:
    """Until the other nodes have made their shards."""
    pause, told = _POLL[0], time.monotonic() - _TELL + _POLL[1]
    waiting = list(pending)
    while waiting := [item for item in waiting if not is_done(item)]:
        if time.monotonic() - told > _TELL:
            told = time.monotonic()
            say(f"this node's share is done; waiting for {len(waiting)} shards of other nodes")
        time.sleep(pause)
        pause = min(_POLL[1], pause * 1.5)
