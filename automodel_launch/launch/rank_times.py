"""A rank that is slow again and again, by what the ranks have measured (recipes/pretrain_lib/rank_times.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from automodel_launch.launch.profiling import LAG
from automodel_launch.report import rank_times as samples

TAIL = 2**16  # bytes of contract.RANK_TIMES
SAMPLES = 5  # one after the other, in which it has to be the slowest


@dataclass(frozen=True)
class SlowRank:
    """The others wait `lag_s` seconds of each step of `step_s` for it; `step` is that of the last sample."""

    rank: int
    lag_s: float
    step_s: float
    step: int
    node: str | None = None
    local_rank: int | None = None

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @property
    def text(self) -> str:
        """For people."""
        where = f" ({self.node}, local rank {self.local_rank})" if self.node else ""
        share = f"{self.lag_s:.3g} s of each step ({self.lag_s / self.step_s:.0%})"
        return f"rank {self.rank}{where} is slow: the others wait for it, {share}, in the last {SAMPLES} samples"


def slow_rank(tail: bytes, since: float, nodes: Sequence[str], on_each: int | None) -> SlowRank | None:
    """Of the end of the file: the rank, if any, that was the slowest in all of the last samples, by LAG of a step.

    `since`: when this attempt began; `nodes` and ranks `on_each` tell where it is.
    """
    import statistics  # which imports random and decimal

    last = [row for row in samples.rows(tail) if row["time"] >= since][-SAMPLES:]
    tops = [max(row["ranks"], key=lambda one: float(one[1])) for row in last]
    if len(last) < SAMPLES or len({rank for rank, _ in tops}) > 1:
        return None
    lags = [own - row["median_s"] for row, (_, own) in zip(last, tops, strict=True)]
    if any(lag < LAG * row["step_s"] for row, lag in zip(last, lags, strict=True)):
        return None
    rank, found = tops[0][0], (statistics.median(lags), last[-1]["step_s"], last[-1]["step"])
    number, local = divmod(rank, on_each) if on_each else (len(nodes), 0)
    return SlowRank(rank, *found, *((nodes[number], local) if number < len(nodes) else ()))
