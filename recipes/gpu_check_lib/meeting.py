"""Which nodes are there, said by node 0 to all of them at one moment; and what their clocks show at some others."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpu_check_lib.store import Store

TICKS = 3
_TICK_S = 0.1
_LATE_S = 15.0  # node 0 may have begun to wait later than we have


@dataclass(frozen=True)
class Guest:
    """A node that has come: where its own store is, and with how many ranks over which backend it measures.

    No ranks: it has come, and cannot measure.
    """

    node: int
    host: str
    address: str
    port: int
    ranks: int
    backend: str


def meet(store: Store, own: Guest, nodes: int, limit_s: float) -> dict[int, Guest] | None:
    """All nodes that have come within `limit_s`, the same for each of them; None for one that came too late.

    Raises:
        StoreError: node 0 does not answer.
    """
    store.set(f"guest/{own.node}", json.dumps(asdict(own)))
    if own.node == 0:
        _invite(store, nodes, limit_s)
    said = store.get("present", limit_s + _LATE_S)
    guests = [Guest(**guest) for guest in json.loads(said or "[]")]
    return {guest.node: guest for guest in guests} if own.node in {guest.node for guest in guests} else None


def _invite(store: Store, nodes: int, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    found = (store.get(f"guest/{node}", max(0.0, end - time.monotonic())) for node in range(nodes))
    store.set("present", json.dumps([json.loads(guest) for guest in found if guest]))


def clock(store: Store, node: int) -> list[float]:
    """This machine's time (unix seconds) at moments that are the same for all nodes, give or take a poll and a delay.

    Raises:
        StoreError: node 0 does not answer.
    """
    seen = []
    for tick in range(TICKS):
        if node == 0:
            time.sleep(_TICK_S)
            store.set(f"tick/{tick}", "now")
        if store.get(f"tick/{tick}", _LATE_S) is None:
            break
        seen.append(time.time())
    return seen


def leave(store: Store, node: int, present: Sequence[int], patience_s: float) -> None:
    """Say that the store is needed no longer. Node 0, which has it, stays until all have said so, or nothing moves.

    Raises:
        StoreError: node 0 does not answer.
    """
    store.set(f"over/{node}", "over")
    if node != 0:
        return
    keys, since = 0, time.monotonic()
    for other in present:
        while store.get(f"over/{other}", _TICK_S) is None:
            if keys != (keys := store.size()):
                since = time.monotonic()
            if time.monotonic() - since > 2 * patience_s:  # a pair that hangs, and a partner that waits for one of it
                return
