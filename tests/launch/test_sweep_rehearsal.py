"""One rehearsal does for the points that it could not tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automodel_launch.launch import checking, sweep_rehearsal
from automodel_launch.plan.finding import Finding
from automodel_launch.rehearsal.rehearsing import Outcome
from tests.conftest import Checkout, Main


@pytest.mark.parametrize(
    ("swept", "made"),
    [
        (["optimizer.lr=1e-3,2e-3,3e-3"], 1),
        (["optimizer.lr=1e-3,2e-3", "step_scheduler.local_batch_size=1,2"], 2),
        (["step_scheduler.max_steps=1,2,3,4,5,6"], sweep_rehearsal.MOST),
    ],
)
def test_how_many_are_made(
    checkout: Checkout, main: Main, monkeypatch: pytest.MonkeyPatch, swept: list[str], made: int
) -> None:
    asked: list[str] = []

    def rehearse(plan: Any, found: list[Finding], folder: Path, option: Any, **how: Any) -> Outcome:
        asked.append(plan.run_name)
        return Outcome([Finding("error", "rehearsal", "it does not fit.")])

    monkeypatch.setattr(checking, "rehearse", rehearse)
    words = [word for values in swept for word in ("--sweep", values)]
    shown = main(checkout, "pretrain", "-c", "tiny", "--run", "local", "--rehearse", "--dry-run", *words)
    assert (shown.returncode, len(asked)) == (3, made), shown.stderr
    assert ("were made, none for" in shown.stdout) == (made == sweep_rehearsal.MOST)
    assert shown.stdout.count("it does not fit.") == made
