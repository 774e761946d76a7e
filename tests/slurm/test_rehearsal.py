"""Rehearsals before a submission to a real Slurm: on its login node, over SSH, in one task of srun's."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.executors import job_python
from tests.conftest import LIMIT_S, Checkout, Main
from tests.rehearsal import stand_in
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.sshd import SshServer
from tests.slurm.test_ssh import SSH, client
from tests.slurm.test_truth import heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

# A recipe of AutoModel's whose config's keys are not known, with the stand-in to answer for it.
TRAINS = """# /// script
# [tool.runspec]
# name = "trains"
# backend = "automodel"
# code = ["pretrain_lib"]
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/trains"
# ///
print("trained", flush=True)
"""
_SCRATCH = Path("/tmp")


def with_stand_in(site: Checkout) -> Checkout:
    """The recipe `trains`."""
    recipes, config = site.root / "recipes", site.root / "configs" / "trains" / "default.yaml"
    shutil.rmtree(recipes / "rehearse_lib", ignore_errors=True)
    shutil.copy(stand_in.__file__, recipes / "rehearse.py")
    (recipes / "trains.py").write_text(TRAINS)
    config.parent.mkdir()
    config.write_text(f"recipe: own.Recipe\nlog: {site.root.parent}/calls\nhow: passed\noptimizer: {{lr: 1.0}}\n")
    return site


@pytest.fixture
def laptop(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> Iterator[Checkout]:
    """A machine without Slurm, and a profile with the alias of the cluster's login node."""
    yield with_stand_in(client(make_site(tmp_path, {}, SSH), login_node))
    heal(cluster)


@pytest.fixture
def on_login_node(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """A login node of the cluster."""
    yield with_stand_in(make_site(tmp_path, cluster.env))
    heal(cluster)


def calls(site: Checkout) -> list[dict[str, Any]]:
    """What the stand-in has seen."""
    log = site.root.parent / "calls"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def left(site: Checkout) -> list[Path]:
    """Directories of rehearsals that ran for this site."""
    return [Path(call["cwd"]) for call in calls(site) if Path(call["cwd"]).exists()]


def test_a_refusal_over_ssh_keeps_the_job_from_the_queue(laptop: Checkout, cluster: Cluster) -> None:
    done = laptop.run("trains", "--batch", "one", "how=refused", env={"MY_API_KEY": "s3cr3t-of-mine"})
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    for part in ("error: [rehearsal] optimizer", "trains/default.yaml:4", "TypeError: AdamW", "login node login"):
        assert part in done.stderr
    assert f"{laptop.root.parent}/" not in cluster.check("scontrol", "show", "jobs")  # the cluster knows others' jobs
    assert not (laptop.root / ".launch" / "jobs").exists() and not list(laptop.root.parent.glob("jobs/*"))
    (call,) = calls(laptop)
    assert call["cwd"].startswith("/tmp/launch-rehearsal-") and left(laptop) == []
    assert "s3cr3t" not in json.dumps(call)
    # a checkout below /tmp, say, is each machine's own
    assert call["request"]["job_python"] is job_python.is_shared(sys.executable) and call["request"]["seconds"] == 25


def test_a_plan_that_goes_well_is_submitted_and_not_asked_about_again(laptop: Checkout) -> None:
    first, again = (laptop.run("trains", "--run", "one", "--fresh") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "trained" in first.stdout and "note: [rehearsal]" in first.stderr and "note: [rehearsal]" in again.stderr
    assert ("rehearsing" in first.stderr, "rehearsing" in again.stderr) == (True, False)
    assert len(calls(laptop)) == 1


def test_not_for_a_dry_run_nor_against_ones_will(laptop: Checkout, main: Main) -> None:
    shown = main(laptop, "trains", "--batch", "one", "--dry-run")
    assert "--rehearse tries AutoModel's own" in " ".join(shown.stdout.split())
    assert "--rehearse" not in main(laptop, "trains", "--batch", "one", "--dry-run", "--no-rehearse").stdout
    checked = main(laptop, "check", "trains", "--batch", "one", "--json")
    assert json.loads(checked.stdout)["rehearsal"] is None
    assert calls(laptop) == []
    checked = main(laptop, "check", "trains", "--batch", "one", "--rehearse", "how=refused", "--json")
    document = json.loads(checked.stdout)
    assert (checked.returncode, document["rehearsal"]["outcome"]) == (3, "refused")
    assert [found["code"] for found in document["findings"] if found["level"] == "error"] == ["rehearsal"]


def test_a_connection_that_breaks_leaves_nothing_there(laptop: Checkout, login_node: SshServer) -> None:
    """The other side's own clock ends it."""
    running = laptop.start("check", "trains", "--batch", "one", "--rehearse", "how=hangs", "run.env.rehearse=3")
    wait_until(lambda: calls(laptop), 120, "the rehearsal has begun")
    login_node.stop()
    out, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, err
    assert "[rehearsal-partial] not rehearsed on the login node login" in out
    wait_until(lambda: not left(laptop), 120, "its directory is removed")
    wait_until(lambda: not Path("/proc", str(calls(laptop)[0]["pid"])).exists(), 120, "its process has ended")


def test_ctrl_c_ends_it_over_ssh(laptop: Checkout) -> None:
    running = laptop.start("trains", "--batch", "one", "how=hangs")
    wait_until(lambda: calls(laptop), 120, "the rehearsal has begun")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130, err
    assert left(laptop) == []
    wait_until(lambda: not Path("/proc", str(calls(laptop)[0]["pid"])).exists(), 120, "its process has ended")


def test_a_login_node_itself_needs_no_connection(on_login_node: Checkout, main: Main) -> None:
    done = main(on_login_node, "check", "trains", "--batch", "one", "--rehearse")
    assert done.returncode == 0 and "on this login node" in done.stdout
    assert left(on_login_node) == []


def test_one_task_of_srun(
    on_login_node: Checkout, main: Main, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a node, from the job root, which it sees; nothing stays in the queue or there."""
    asked = ("check", "trains", "--batch", "one", "--rehearse", "run.env.rehearse_in=srun")
    done = main(on_login_node, *asked)
    assert done.returncode == 0 and "in one task of srun's" in done.stdout, done.stdout + done.stderr
    (call,) = calls(on_login_node)
    assert call["environ"]["SLURM_NTASKS"] == "1"
    assert call["cwd"].startswith(f"{on_login_node.root.parent}/jobs/") and left(on_login_node) == []
    monkeypatch.setattr("automodel_launch.executors.slurm.one_task.IMMEDIATE_S", 4)  # the limit waits for it, too
    late = main(on_login_node, *asked, "how=hangs", "run.env.rehearse=1")
    assert "[rehearsal-partial]" in late.stdout
    wait_until(lambda: "launch-rehearsal" not in cluster.check("squeue", "-h", "-o", "%j"), 120, "the task has ended")
    assert left(on_login_node) == []
