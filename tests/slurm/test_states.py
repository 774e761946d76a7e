"""States that only a real Slurm shows: its outages, what an operator does to a job, and what cancel makes of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_truth import Attached, fake, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

LONG = ("steps=9000", "pause=0.2")


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """A login node of the cluster whose sacct fails."""
    yield make_site(tmp_path, cluster.env)
    heal(cluster)


@pytest.fixture
def accounted(tmp_path: Path, cluster_dbd: Cluster) -> Iterator[Checkout]:
    """A login node of the cluster whose sacct works."""
    yield make_site(tmp_path, cluster_dbd.env, "chain = 2\nstop_grace = 20")
    heal(cluster_dbd)


def test_without_slurmctld_the_record_and_the_stop_file_count(accounted: Checkout, cluster_dbd: Cluster) -> None:
    """sacct goes on saying RUNNING, and that the chain's next job waits."""
    go = accounted.root.parent / "go"
    ends = Attached(accounted, "stub-one", "--run", "one", f"+until={go}")
    stopped = accounted.json("stub-one", "--batch", "one", *LONG, "value=2")
    cluster_dbd.wait_for(int(stopped["handle"]["slurm_id"]), "RUNNING")
    log = Path(stopped["job_dir"], "logs", "rank-0.log")
    wait_until(lambda: log.exists() and "step 1 " in log.read_text(), 120, "the second job's first step")
    cluster_dbd.stop_ctld()
    go.touch()
    assert ends.end() == 0  # while it is away
    assert ": COMPLETED" in ends.err
    done = accounted.run("cancel", stopped["job_id"])
    assert (done.returncode, done.stdout) == (0, f"{stopped['job_id']}: CANCELLED\n"), done.stderr
    assert "see its stop file" in done.stderr
    assert [row["state"] for row in accounted.json("jobs")] == ["COMPLETED", "CANCELLED"]
    assert accounted.run("attach", stopped["job_id"]).returncode == 143
    cluster_dbd.start_ctld()

    def told() -> bool:
        return [row["state"] for row in accounted.json("jobs")] == ["COMPLETED", "CANCELLED"]

    wait_until(told, 120, "the jobs' ends, which Slurm has missed")  # its RUNNING is believed for some seconds
    for record in (accounted.root / ".launch" / "jobs").glob("*.json"):
        cluster_dbd.wait_for(int(json.loads(record.read_text())["handle"]["slurm_id"]), timeout=120)


def test_what_an_operator_does_to_a_job(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one", *LONG)
    slurm_id = record["handle"]["slurm_id"]
    cluster.wait_for(int(slurm_id), "RUNNING")
    cluster.check("scontrol", "suspend", slurm_id)
    status = site.json("status", "last")
    assert (status["state"], status["error"]) == ("SUSPENDED", None)
    assert f"scontrol resume {slurm_id}" in status["advice"]
    cluster.check("scontrol", "resume", slurm_id)
    cluster.check("scontrol", "update", f"jobid={slurm_id}", "jobname=renamed")
    assert site.json("status", "last")["state"] == "RUNNING"
    done = site.run("cancel", "last")
    assert "CANCELLED" in done.stdout, done.stderr
    assert cluster.wait_for(int(slurm_id)) in ("CANCELLED", "FAILED")  # the latter where it ended by itself, asked to


@pytest.mark.parametrize("how", [[], ["--now"]])
def test_a_suspended_job_is_cancelled_at_once(site: Checkout, cluster: Cluster, how: list[str]) -> None:
    """It takes no signal, so that it cannot save; Slurm's own scancel would try for minutes."""
    record = site.json("saver", "--batch", "one")
    slurm_id = int(record["handle"]["slurm_id"])
    log = Path(record["job_dir"], "logs", "rank-0.log")
    wait_until(lambda: log.exists() and "ready" in log.read_text(), 120, "the training")
    cluster.check("scontrol", "suspend", str(slurm_id))
    done = site.run("cancel", "last", *how)
    assert "CANCELLED" in done.stdout, done.stderr
    assert "It was suspended" in done.stderr and "does not answer" not in done.stderr
    assert cluster.wait_for(slurm_id) == "CANCELLED"


def test_a_job_that_is_held_renamed_and_cancelled(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one", "run.env.additional_parameters={hold: true}")
    slurm_id = record["handle"]["slurm_id"]
    said = site.run("status", "last").stdout
    assert "waiting: JobHeldUser (held by its owner)" in said
    assert f"scontrol release {slurm_id}" in said
    assert "error" not in said
    cluster.check("scontrol", "update", f"jobid={slurm_id}", "jobname=renamed")
    assert "CANCELLED" in site.run("cancel", "last").stdout
    assert cluster.state(int(slurm_id)) == "CANCELLED"


def test_a_dependency_that_cannot_be_met(site: Checkout, cluster: Cluster) -> None:
    failed = cluster.submit("exit 1")
    cluster.wait_for(failed)
    record = site.json("stub-one", "--batch", "one", f"run.env.dependency=afterok:{failed}")
    wait_until(lambda: "DependencyNeverSatisfied" in site.run("status", "last").stdout, LIMIT_S, "Slurm's reason")
    said = site.run("status", "last").stdout
    assert f"scontrol update JobId={record['handle']['slurm_id']} Dependency=" in said
    assert "CANCELLED" in site.run("cancel", "last").stdout


def test_a_pause_is_told_as_one(site: Checkout, cluster: Cluster) -> None:
    run = Attached(site, "stub-one", "--run", "one", *LONG)
    assert site.run("pause", "last").returncode == 0
    assert run.end() == 143
    assert "its run was paused" in run.err
    assert "launch.py resume" in run.err
    status = site.json("status", "last")
    assert (status["state"], status["error"], status["reason"]) == ("CANCELLED", None, "its run was paused")


def test_where_only_scancel_works_a_job_may_save(site: Checkout, cluster: Cluster) -> None:
    """stop_grace counts, and not Slurm's KillWait, which is 5 s on this cluster."""
    run = Attached(site, "saver", "--run", "one", text="ready")
    fake(site, "squeue", "exit 1")
    done = site.run("cancel", "last")
    assert "CANCELLED" in done.stdout, done.stderr
    assert run.end() not in (0, 130)
    assert run.out.split("\n") == ["ready", "saved", ""]


def test_a_warning_for_the_batch_shell_reaches_the_training(site: Checkout, cluster: Cluster) -> None:
    """It is told as what it is, and the batch shell does not die of it."""
    # Slurm looks every 30 s, and sends it up to 30 s early: between 20 s and 50 s from the start
    options = ("run.env.signal=B:USR1@70", "run.env.time='00:02:00'", "run.env.agent_python=/no/such")
    run = Attached(site, "saver", "--run", "one", *options, text="ready")
    assert run.end() == 138, run.err
    assert run.out.split("\n") == ["ready", "saved", ""]
    assert ": TIMEOUT, exit code 138" in run.err
    assert "before the time limit" in run.err
    (batch,) = run.jobs.glob("*/logs/sbatch_*.out")
    assert "/no/such is not there; taking python3" in batch.read_text()


def test_the_job_root_is_removed_while_a_job_runs(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one", *LONG)
    slurm_id = int(record["handle"]["slurm_id"])
    cluster.wait_for(slurm_id, "RUNNING")
    log = Path(record["job_dir"], "logs", "rank-0.log")
    wait_until(lambda: log.exists() and "step 1 " in log.read_text(), 120, "the first step")
    root = Path(record["job_dir"]).parent

    def gone() -> bool:
        shutil.rmtree(root, ignore_errors=True)  # the job writes meanwhile, into a folder that is being emptied
        return not root.exists()

    wait_until(gone, LIMIT_S, "the removal of the job root")
    status = site.json("status", "last")
    assert status["state"] == "RUNNING"
    assert "its directory is gone" in status["reason"]
    done = site.run("cancel", "last")
    assert "CANCELLED" in done.stdout, done.stderr
    assert cluster.wait_for(slurm_id) == "CANCELLED"
    assert site.json("status", "last")["state"] == "CANCELLED"


def test_a_job_that_slurm_does_not_know(site: Checkout, cluster: Cluster) -> None:
    record = site.json("stub-one", "--batch", "one", *LONG)
    cluster.check("scancel", record["handle"]["slurm_id"])
    cluster.wait_for(int(record["handle"]["slurm_id"]))  # it writes into its directory until then
    path = site.root / ".launch" / "jobs" / f"{record['job_id']}.json"
    path.write_text(path.read_text().replace(f'"{record["handle"]["slurm_id"]}"', '"99999"'))
    shutil.rmtree(record["job_dir"], ignore_errors=True)
    done = site.run("cancel", "last")
    assert done.returncode == 2, done.stdout
    assert "cannot be cancelled" in done.stderr
