"""A workspace whose recipe trains with AutoModel and whose recipes/rehearse.py is the stand-in."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.executors.job_python import TEMPORARY
from automodel_launch.launch import checking
from automodel_launch.plan.plan import Plan
from automodel_launch.rehearsal.rehearsing import Outcome
from tests.rehearsal import stand_in
from tests.workbench import Bench, make_bench

Rehearse = Callable[..., Outcome]
_OWN = f"{os.getpid():08x}"


@pytest.fixture(autouse=True)
def own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests rehearse on this machine at the same time; what is left is looked for by this process' names."""
    token = secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", lambda size=6: _OWN + token(size))


def left() -> list[Path]:
    """Directories of this process' rehearsals."""
    return list(Path(TEMPORARY).glob(f"launch-rehearsal-{_OWN}*"))


@dataclass
class Stage:
    """A bench, the stand-in's log and the folder of answers."""

    bench: Bench
    root: Path

    @property
    def log(self) -> Path:
        """What the stand-in has seen, a line a call."""
        return self.root / "log"

    @property
    def answers(self) -> Path:
        """The cache."""
        return self.bench.workspace.rehearsals

    def calls(self) -> list[dict[str, Any]]:
        """What the stand-in has seen."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # it may be writing one

    def plan(self, *texts: str, more: str = "", **options: Any) -> Plan:
        """The plan for a config that says what the stand-in answers."""
        return self.bench.planned(f"log: {self.log}\nhow: passed\noptimizer: {{lr: 1.0}}\n{more}", *texts, **options)

    def rehearse(self, plan: Plan, option: Any = "on", submits: bool = False, **options: Any) -> Outcome:
        """What came of it."""
        return checking.rehearse(plan, [], self.answers, option, submits=submits, **options)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A bench with the stand-in; recipes/rehearse_lib has a module, and one that was compiled."""
    bench = make_bench(tmp_path).trains(own_recipe=True)
    recipes = bench.workspace.recipes
    shutil.copy(stand_in.__file__, recipes / "rehearse.py")
    for name in ("stages.py", "__pycache__/old.pyc"):
        (recipes / "rehearse_lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (recipes / "rehearse_lib" / name).write_text("")
    return Stage(bench, tmp_path)
