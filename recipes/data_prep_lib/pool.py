"""All shards, in several processes. The first error stops the others at their next batch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from data_prep_lib import worker
from data_prep_lib.errors import DataPrepError
from data_prep_lib.shards import Shard

_TICK = 0.25  # seconds between two looks at the counters
COUNTERS = ("documents", "tokens", "bytes", "input")


def run(
    work: Sequence[tuple[Shard, str]],
    settings: worker.Settings,
    workers: int,
    tick: Callable[[dict[str, int], int], None],
) -> None:
    """Build each (shard, made_by). `tick` gets the counters so far and the number of shards done."""
    # spawn: a fork would copy the locks of this process's threads, and inherits the lock on output_dir
    context = multiprocessing.get_context("spawn")
    counters: Any = context.Array("q", len(COUNTERS) + 1)
    pool = ProcessPoolExecutor(workers, context, worker.start, (settings, counters))
    # largest first: no worker is left alone with a large shard at the end; the order changes nothing in the output
    pending = [pool.submit(worker.build, *item) for item in sorted(work, key=lambda item: -item[0].size)]
    try:
        _follow(pending, counters, tick)
    except BrokenProcessPool:
        raise DataPrepError(
            "a worker process died (killed, or out of memory); finished shards are kept\n"
            "  run the same command again, with fewer workers if memory was short"
        ) from None
    finally:
        counters[len(COUNTERS)] = 1
        pool.shutdown(wait=True, cancel_futures=True)


def _follow(pending: list[Future[None]], counters: Any, tick: Callable[[dict[str, int], int], None]) -> None:
    waiting = set(pending)
    while waiting:
        done, waiting = wait(waiting, timeout=_TICK, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        tick(dict(zip(COUNTERS, counters[:], strict=False)), len(pending) - len(waiting))
