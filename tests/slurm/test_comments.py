"""What a person writes into a job's comment or name is theirs: it reaches Slurm, and the launcher does without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.slurm import probe
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_submissions import SLOW_AFTER, let_go
from tests.slurm.test_truth import fake

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

COMMENTS = [
    json.dumps({"OccupiedIdleGPUsJobReaper": {"exemptIdleTimeMins": "60", "reason": "data loading"}}),
    'it\'s "quoted" \\ and \\\\, {{x}} # $HOME `id` | %j é',
    "' \" ' \\",
    "/some/path",
]


def test_a_comment_reaches_slurm_as_it_is_written(tmp_path: Path, cluster: Cluster) -> None:
    for number, comment in enumerate(COMMENTS):
        more = f'comment = {json.dumps(comment)}\nadditional_parameters = {{hold = true, "mcs-label" = false}}\n'
        site = probe.site(tmp_path, cluster, more, name=f"checkout{number}")
        done = site.run("probe", "--batch", "c", "--name", f"run{number}")
        assert done.returncode == 0, done.stderr
        slurm_id = site.json("status", f"run{number}.1")["handle"]["slurm_id"]
        assert cluster.check("squeue", "-h", "-j", slurm_id, "-o", "%k") == f"{comment}\n"
        cluster.check("scancel", slurm_id)


@pytest.mark.parametrize("linked", [False, True])
def test_a_job_whose_name_and_comment_somebody_changes_is_found_and_cancelled(
    tmp_path: Path, cluster: Cluster, linked: bool
) -> None:
    """Also below a link, and though the launcher that submitted it has died; a shell in its directory is no job."""
    site = probe.site(tmp_path, cluster, "additional_parameters = {hold = true}\n")
    if linked:
        (tmp_path / "real").mkdir()
        (tmp_path / "jobs").symlink_to(tmp_path / "real")
    fake(site, "sbatch", SLOW_AFTER)
    launcher = site.start("probe", "--batch", "c", "--name", "mine", start_new_session=True)
    wait_until((tmp_path / "bin" / "sbatch.done").exists, LIMIT_S, "the submission")
    slurm_id = cluster.check("squeue", "-h", "-n", "mine.1", "-o", "%i").strip()
    cluster.check("scontrol", "update", f"jobid={slurm_id}", "name=other", "comment=/elsewhere")
    there = f"cd {tmp_path}/jobs/mine.1 && sbatch --parsable --hold --wrap true"
    shell = cluster.check("bash", "-c", there).strip()
    launcher.kill()
    launcher.wait()
    let_go(site)
    found = site.json("status", "mine.1")
    assert (found["state"], found["handle"]["slurm_id"]) == ("PENDING", slurm_id)
    assert site.run("cancel", "mine.1").returncode == 0
    wait_until(lambda: cluster.state(int(slurm_id)) == "CANCELLED", 120, "the job's end")
    assert cluster.state(int(shell)) == "PENDING"
    cluster.check("scancel", shell)


@pytest.mark.parametrize("written", ["requeue = false", '"no-requeue" = true'])
def test_a_job_that_shall_not_be_requeued_is_not(tmp_path: Path, cluster: Cluster, written: str) -> None:
    site = probe.site(tmp_path, cluster, f"additional_parameters = {{hold = true, {written}}}\n")
    assert site.run("probe", "--batch", "c", "--name", "once").returncode == 0
    slurm_id = site.json("status", "once.1")["handle"]["slurm_id"]
    assert cluster.job(int(slurm_id))["Requeue"] == "0"
    cluster.check("scancel", slurm_id)


@pytest.mark.parametrize("name", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_a_shell_that_means_another_cluster_is_told_before(tmp_path: Path, cluster: Cluster, name: str) -> None:
    site = probe.site(tmp_path, cluster, "additional_parameters = {hold = true}\n")
    here = cluster.check("bash", "-c", "scontrol show config | sed -n 's/^ClusterName *= //p'").strip()
    site.environ[name] = "other"
    done = site.run("probe", "--batch", "c", "--name", "far")
    assert (done.returncode, f"{name} is other" in done.stderr) == (3, True), done.stderr
    site.environ[name] = here
    done = site.run("probe", "--batch", "c", "--name", "near")
    assert done.returncode == 0, done.stderr
    assert site.json("status", "near.1")["state"] == "PENDING"
    cluster.check("scancel", site.json("status", "near.1")["handle"]["slurm_id"])
