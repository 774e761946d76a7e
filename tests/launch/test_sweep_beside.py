"""`--at-most` of sweeps of one name from several checkouts: submitted in turn, so that each counts the others."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import claims
from automodel_launch.launch import sweep_beside
from automodel_launch.plan.planset import PlanSet, Point
from automodel_launch.remote.filesystem import LOCAL
from tests.conftest import LIMIT_S
from tests.workbench import make_bench

_FORK = multiprocessing.get_context("fork")


class _Launcher:
    """A process of its own that submits the sweep's points until it is told to end."""

    def __init__(self, made: PlanSet, checkout: Path) -> None:
        self.at_it, self.ends, self.waits = _FORK.Event(), _FORK.Event(), _FORK.Event()
        self.process = _FORK.Process(target=self._submit, args=(made, checkout / ".launch" / "jobs"))
        self.process.start()

    def _submit(self, made: PlanSet, records: Path) -> None:
        def say(text: str) -> None:
            assert text == "another launcher submits points of s; waiting for it"
            self.waits.set()

        with sweep_beside.alone(made, records, {}, say):
            self.at_it.set()
            self.ends.wait(LIMIT_S)


def test_launchers_of_several_checkouts_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed holds nobody up; without a limit nobody waits."""
    monkeypatch.setattr(sweep_beside, "_POLL_S", 0.02)
    plan = make_bench(tmp_path).plan()
    made = PlanSet("s", (Point((), plan),), at_most=1)
    launchers: list[Any] = []
    try:
        launchers.append(first := _Launcher(made, tmp_path / "a"))
        assert first.at_it.wait(LIMIT_S)
        launchers.append(second := _Launcher(made, tmp_path / "b"))
        assert second.waits.wait(LIMIT_S) and not second.at_it.is_set()
        launchers.append(unlimited := _Launcher(replace(made, at_most=None), tmp_path / "c"))
        assert unlimited.at_it.wait(LIMIT_S)
        first.process.kill()
        assert second.at_it.wait(LIMIT_S)
        launchers.append(third := _Launcher(made, tmp_path / "d"))
        assert third.waits.wait(LIMIT_S) and not third.at_it.is_set()
        second.ends.set()
        assert third.at_it.wait(LIMIT_S)
        third.ends.set()
        third.process.join(LIMIT_S)
    finally:
        for one in launchers:
            one.process.kill()
            one.process.join()
    last = claims.newest(f"{plan.job_root}/s", LOCAL)
    assert last is not None and (last.number, last.free) == (3, True)
