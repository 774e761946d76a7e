"""A checkpoint is being saved when it happens."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import LIMIT_S
from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.cluster import wait_until


def _part(case: Case, step: int, phase: int) -> Path:
    assert case.run
    return case.run.run_dir / "checkpoints" / f"epoch_0_step_{step}" / f"part-{phase}"


@kind()
def killed_in_a_save(case: Case) -> None:
    """SIGKILL of the rank that saves, in one of four phases of the save"""
    phase = case.rng.randrange(4)
    case.settings(steps=30, save_s=2.0)
    case.say(f"phase {phase}")
    run = case.start(9)
    part = _part(case, 9, phase)
    wait_until(part.exists, LIMIT_S, str(part), interval=0.02)
    run.kill_rank(0)


@kind()
def time_limit_in_a_save(case: Case) -> None:
    """The time limit, made shorter, comes in the middle of a save"""
    case.settings(steps=12, save_s=12.0)  # a part within `stall`, 4 s here
    run = case.start(4)
    part = _part(case, 9, 0)
    wait_until(part.exists, 120, str(part))
    case.cluster.expire(run.attempt(0))
    case.until(lambda: run.history("ended"), 60, "the end of the attempt")


@kind()
def disk_full_in_a_save(case: Case) -> None:
    """A save ends with No space left on device"""
    step = case.rng.choice((9, 14, 19))
    case.settings(full_at=step)
    run = case.start(step - 1)
    case.until(lambda: len(run.history("begun")) > 1, 60, "the next attempt")
