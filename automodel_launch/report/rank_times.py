"""What each rank spent outside of collectives, sample by sample (recipes/pretrain_lib/rank_times.py)."""

from __future__ import annotations

from collections.abc import Iterable

from automodel_launch import contract
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import is_number, is_whole
from automodel_launch.report.reading import Json, RunFiles

MOST_RANKS, MOST_SAMPLES = 16, 24  # that a page shows


def rows(content: bytes) -> list[Json]:
    """The lines of the file that are complete: objects of contract.RANK_TIME_KEYS with two ranks or more."""
    return [row for line in content.split(b"\n") if (row := parse(line)) and _is_complete(row)]


def table(files: RunFiles) -> Json | None:
    """Ranks by samples, of all jobs of a run; the ranks that were slowest, by how much. None where none were taken.

    Of a step that was sampled twice the later one counts. `times` are seconds, null where a rank was not measured.
    """
    import statistics  # which imports random and decimal

    samples = {row["step"]: row for job in files.jobs for row in rows(job.rank_times)}
    chosen = [samples[step] for step in _spread(sorted(samples))]
    if not chosen:
        return None
    times = [dict(map(tuple, row["ranks"])) for row in chosen]
    lags: dict[int, list[float]] = {}
    for row, told in zip(chosen, times, strict=True):
        for rank, own in told.items():
            lags.setdefault(rank, []).append((own - row["median_s"]) / row["step_s"])
    ranks = sorted(sorted(lags, key=lambda rank: -statistics.fmean(lags[rank]))[:MOST_RANKS])
    return {
        "steps": [row["step"] for row in chosen],
        "step_s": [row["step_s"] for row in chosen],
        "median_s": [row["median_s"] for row in chosen],
        "ranks": [{"rank": rank, "times": [told.get(rank) for told in times]} for rank in ranks],
        "of": len(lags),
    }


def _spread(steps: list[int]) -> Iterable[int]:
    """At most MOST_SAMPLES of them, the first and the last among them."""
    if len(steps) <= MOST_SAMPLES:
        return steps
    return [steps[number * (len(steps) - 1) // (MOST_SAMPLES - 1)] for number in range(MOST_SAMPLES)]


def _is_complete(row: Json) -> bool:
    ranks = row.get("ranks")
    if (
        not isinstance(ranks, list)
        or len(ranks) < 2
        or not all(isinstance(one, list) and len(one) == 2 for one in ranks)
    ):
        return False
    pairs = all(is_whole(rank) and is_number(own) for rank, own in ranks)
    numbers = all(is_number(row.get(key)) for key in contract.RANK_TIME_KEYS[:-1])
    return pairs and numbers and is_whole(row.get("step")) and row["step_s"] > 0
