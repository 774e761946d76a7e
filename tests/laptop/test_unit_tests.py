"""The launcher's own tests, on a laptop that is no Linux; without what stands for a cluster's side, which is Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.laptop.machine import Laptop

QUICK = (
    *("jobs", "doctor/test_local.py", "executors/test_docker_plan.py", "plan/test_gitstate.py"),
    *("commands/test_jobs.py", "commands/test_console.py", "remote/test_probes.py", "executors/test_underway.py"),
    *("launch/test_claim.py", "launch/test_state.py", "launch/test_submit.py", "launch/test_follow.py"),
    "launch/test_local_submissions.py",
)
# Of a cluster's side, and of a Slurm on this machine, which a laptop has none of.
LINUX = " and ".join(
    f"not {name}" for name in ("over-a-shell", "looking_at", "holds_up_no_other", "not_asked_for_each_job")
)


@pytest.mark.e2e
@pytest.mark.timeout(1000)  # several hundred tests
def test_the_launchers_own_tests(laptop: Laptop, tmp_path: Path) -> None:
    command = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "own")]
    paths = [f"tests/{path}" for path in QUICK]
    done = laptop.execute(*command, "-k", LINUX, *paths, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout.splitlines()[-1]
