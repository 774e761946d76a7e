"""The user's own code in jobs on a real Slurm: importable by path, and frozen when the job is submitted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.slurm import probe
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


def _repository(checkout: Checkout) -> None:
    """Everything committed; byte code and what the launcher writes are ignored, as in the real checkout."""
    (checkout.root / ".gitignore").write_text("*.bin\nruns/\n.launch/\n__pycache__/\n")
    _git(checkout, "init", "-q")
    _git(checkout, "add", "-A")
    _git(checkout, "commit", "-q", "-m", "all")


def _git(checkout: Checkout, *command: str) -> None:
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command]
    subprocess.run(words, cwd=checkout.root, check=True, capture_output=True)


def _model(checkout: Checkout, says: str) -> None:
    path = checkout.root / "my_models" / "x.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"def build():\n    return {says!r}\n")


def test_a_queued_job_keeps_the_code_it_was_submitted_with(tmp_path: Path, cluster: Cluster) -> None:
    more = 'code = ["my_models"]\nadditional_parameters = {hold = true}\n'
    checkout = probe.site(tmp_path, cluster, more)
    _model(checkout, "committed")
    (checkout.root / "my_models" / "w.bin").write_text("stays")
    _repository(checkout)
    _model(checkout, "at submission")
    (checkout.root / "my_models" / "new.py").write_text("# untracked\n")

    planned = checkout.json("probe", "--batch", "c", "--dry-run", "--offline", "target=my_models/x.py:build")
    (note,) = [finding for finding in planned["findings"] if finding["code"] == "uncommitted"]
    assert "1 changed, 1 untracked" in note["message"]
    record = checkout.json("probe", "--batch", "c", "--offline", "target=my_models/x.py:build")
    assert record["plan_hash"] == planned["plan_hash"]
    _model(checkout, "edited afterwards")
    (checkout.root / "recipes" / "probe.py").write_text("raise SystemExit('edited afterwards')\n")
    cluster.check("scontrol", "release", record["handle"]["slurm_id"])
    done = checkout.run("attach", record["job_id"])
    assert probe.told(done)["built"] == "at submission"

    job = Path(record["job_dir"])
    assert sorted(path.name for path in (job / "code" / "my_models").glob("*.*")) == ["new.py", "x.py"]
    assert (job / "git" / "untracked.txt").read_text() == "my_models/new.py\n"
    assert "+    return 'at submission'" in (job / "git" / "diff.patch").read_text()
    assert len((job / "git" / "commit").read_text().strip()) == 40


def test_git_runs_what_is_committed(tmp_path: Path, cluster: Cluster) -> None:
    checkout = probe.site(tmp_path, cluster, 'code = ["my_models"]\npackager = "git"\n')
    _model(checkout, "committed")
    _repository(checkout)
    _model(checkout, "uncommitted")
    done = checkout.run("probe", "--run", "c", "--offline", "target=my_models/x.py:build")
    assert probe.told(done)["built"] == "committed"
    assert "left-behind" in done.stderr
    assert "1 changed, 0 untracked" in done.stderr


def test_a_container_without_pyxis_says_so(tmp_path: Path, cluster: Cluster) -> None:
    checkout = probe.site(tmp_path, cluster)
    done = checkout.run("probe", "--run", "c", "--offline", "--force", "run.env.container_image=some:image")
    assert done.returncode not in (0, None)
    assert "FAILED" in done.stderr
    (log,) = tmp_path.glob("jobs/*/logs/sbatch_*.out")
    assert str(log) in done.stderr
    assert "unrecognized option '--container-image" in log.read_text()
