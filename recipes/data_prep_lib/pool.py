"""Shards, in several processes, for as long as there are some to take. The first error stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from data_prep_lib import worker
from data_prep_lib.claims import STUCK, Item, Queue
from data_prep_lib.errors import DataPrepError

_TICK = 0.25  # seconds between two looks at the counters
_AGAIN = 5.0  # between two looks for shards of nodes that have died, while some are made here
_LOOK = 30.0  # ... whether another node has made those that stand still here
COUNTERS = ("documents", "tokens", "bytes", "input")
Tick = Callable[[dict[str, int], int], None]
Say = Callable[[str], None]


def run(context: Any, first: Item, queue: Queue, settings: worker.Settings, workers: int, tick: Tick, say: Say) -> int:
    """Build `first` and what the queue gives; the number of shards.

    `context`: that of forks.py; `tick` gets the counters and the number so far.
    """
    shared = context.Array("q", len(COUNTERS) + 1)
    # Read and written here without their lock, which a killed worker may hold for ever: each is a machine word.
    counters = shared.get_obj()
    pool = ProcessPoolExecutor(workers, context, worker.start, (settings, shared))
    try:
        made, left = _follow(pool, first, queue, workers, counters, tick)
        if left:  # stopped, or in a wait for a file system that does not end
            say(f"{len(left)} shards that stood still here were made by other nodes: {', '.join(left[:3])}")
            for process in list(pool._processes.values()):
                process.kill()
        return made
    except BrokenProcessPool:
        raise DataPrepError(
            "a worker process died without an error of its own (killed?); finished shards are kept\n"
            "  run the same command again, with fewer workers if memory was short"
        ) from None
    finally:
        counters[len(COUNTERS)] = 1
        pool.shutdown(wait=True, cancel_futures=True)


def _follow(
    pool: ProcessPoolExecutor, first: Item, queue: Queue, workers: int, counters: Any, tick: Tick
) -> tuple[int, list[str]]:
    """Give each worker a shard, and the next one when it is done. How many were made, and the names of those that stand
    still, and that others have made."""
    pending: dict[Future[None], Item] = {pool.submit(worker.build, *first): first}
    made, looked, full = 0, 0.0, True
    moved = asked = time.monotonic()
    while True:
        if full or time.monotonic() - looked > _AGAIN:
            full, looked = _fill(pool, pending, queue, workers), time.monotonic()
        if not pending:
            return made, []
        done, _ = wait(pending, timeout=_TICK, return_when=FIRST_COMPLETED)
        for future in done:
            item = pending.pop(future)
            future.result()
            queue.done(item)
            made += 1
            moved = time.monotonic()
        if time.monotonic() - moved > STUCK and time.monotonic() - asked > _LOOK:
            asked = time.monotonic()
            if all(queue.is_made(item) for item in pending.values()):
                return made, [shard.name for shard, _ in pending.values()]
        queue.beat()
        tick(dict(zip(COUNTERS, counters[:], strict=False)), made)


def _fill(pool: ProcessPoolExecutor, pending: dict[Future[None], Item], queue: Queue, workers: int) -> bool:
    """Submit as many as there are workers; False where there was nothing more to take."""
    while len(pending) < workers + queue.ahead:
        item = queue.take()
        if item is None:
            return False
        pending[pool.submit(worker.build, *item)] = item
    return True
