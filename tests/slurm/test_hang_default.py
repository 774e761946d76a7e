"""`stall` left at its default, on a real Slurm: a rank that stands still ends its attempt, and the run goes on."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_chain import Run, jobs_left

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


def _quick(tmp_path: Path) -> str:
    """A Python for the agents in which ten minutes are ten seconds, which no step takes, however busy the machine."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.append({str(ROOT / 'recipes')!r})\n"
        "from node_agent_lib import auto_stall\n"
        "auto_stall.LEAST_S = 10.0\n"
    )
    python = tmp_path / "python-quick"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f'agent_python = "{python}"'


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("numbers", ["small", pytest.param("as they are", marks=pytest.mark.slow)])
def test_a_hang_is_found_with_the_default(tmp_path: Path, cluster: Cluster, numbers: str) -> None:
    small = numbers == "small"
    site = learner.site(tmp_path, cluster, _quick(tmp_path) if small else "")
    run = Run(site, "steps=40", "pause=0.5", "every=10", 'run.env.time="00:25:00"')
    run.reach(0, 15)  # its own steps are known by then
    run.kill_rank(1, signal.SIGSTOP)
    wait_until(lambda: run.history("ended"), 180 if small else 900, "the hang is found")
    (ended,) = run.history("ended")
    told = re.search(r"hung: no step for (\d+) s", ended["why"])
    assert ended["goes_on"] and told, ended
    assert int(told[1]) >= (10 if small else 600)
    said = run.end()
    run.check(most_lost=10)
    assert run.states() == ["FAILED", "COMPLETED"]
    assert "hung: no step for" in said
    assert jobs_left(cluster, run) == []
