"""The schedule of a round-robin tournament, by the circle method: each round every node has one partner at most.

The first stays, the others go round (https://en.wikipedia.org/wiki/Round-robin_tournament#Circle_method). n - 1 rounds
for an even number of nodes, n for an odd one, in which each node sits out once. Any number of first rounds gives all
nodes the same number of partners, so a tournament that runs out of time has still looked at every node.
"""

from __future__ import annotations

from collections.abc import Sequence


def schedule(nodes: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Pairs (lower, higher) of each round."""
    circle: list[int | None] = [*sorted(nodes), *([None] if len(nodes) % 2 else [])]
    rounds = []
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        pairs = zip(circle[:half], reversed(circle[half:]), strict=True)
        rounds.append([(min(a, b), max(a, b)) for a, b in pairs if a is not None and b is not None])
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return rounds


def bus_bandwidth(size: int, seconds: float, world: int) -> float:
    """GB/s (10^9 bytes) of an all-reduce, as nccl-tests defines it: algbw x 2(n - 1)/n, with algbw = S / t.

    Comparable with the hardware's own speed whatever the number of ranks
    (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md, "Bus Bandwidth", "AllReduce").
    """
    return size / seconds * 2 * (world - 1) / world / 1e9
