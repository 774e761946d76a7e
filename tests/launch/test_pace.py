"""How often Slurm is asked about a job that somebody follows."""

from __future__ import annotations

from automodel_launch.jobs.records import Status
from automodel_launch.launch.pace import SLOWEST_S, Pace


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _asked(pace: Pace, clock: Clock, seconds: int, status: Status) -> int:
    """How often it was asked within so many seconds, at a look every two."""
    times = 0
    for _ in range(seconds // 2):
        if pace.due:
            times += 1
            pace.note(status)
        clock.now += 2
    return times


def test_a_day_of_nothing_new_costs_few_questions() -> None:
    clock = Clock()
    pace = Pace(2.0, clock)
    assert _asked(pace, clock, 40, Status("RUNNING")) == 20, "a young job is looked at often"
    first_hour = _asked(pace, clock, 3560, Status("RUNNING"))
    assert first_hour <= 170
    assert _asked(pace, clock, 3600, Status("RUNNING")) <= 3600 / SLOWEST_S + 1


def test_what_changes_is_looked_at_often_again() -> None:
    clock = Clock()
    pace = Pace(2.0, clock)
    _asked(pace, clock, 3600, Status("PENDING"))
    pace.hurry()
    assert pace.due
    assert _asked(pace, clock, 20, Status("PENDING")) == 10
    _asked(pace, clock, 3600, Status("PENDING"))
    clock.now += SLOWEST_S
    pace.note(Status("RUNNING"))
    assert pace.left_s == 2.0
