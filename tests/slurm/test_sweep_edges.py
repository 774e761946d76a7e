"""Edges of sweeps on a real Slurm: chains with a limit, a sweep behind a sweep, a job behind that; cancellations."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_truth import ENV, heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    """Profiles `chain` (attempts until the run is finished) and `one`."""
    cluster.empty()
    site = learner.site(tmp_path, cluster)
    with (site.root / "env.toml").open("a") as file:
        file.write(ENV.partition("[two]")[0].format(python=sys.executable, root=tmp_path / "jobs", more=""))
    yield site
    heal(cluster)


def _history(run_dir: str) -> list[dict[str, Any]]:
    path = Path(run_dir, "history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _end(job_dir: Path) -> dict[str, Any]:
    wait_until((job_dir / "exit.json").exists, 180, str(job_dir))
    wait_until(lambda: not json.loads((job_dir / "exit.json").read_text()).get("goes_on"), 180, str(job_dir))
    found: dict[str, Any] = json.loads((job_dir / "exit.json").read_text())
    return found


def test_chains_one_at_a_time_and_what_waits_for_them(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """One of them fails: the next has its place all the same, and what needs all of them is cancelled."""
    chains = ("learner", "--batch", "chain", "--no-rehearse", "run.env.nodes=1", "--at-most", "1")
    points = tmp_path / "points.yaml"
    points.write_text("list: [{steps: 120}, {steps: 9, fail_at: 3}, {steps: 10}]")
    shown = site.json(*chains, "--name", "c", "--sweep-file", str(points), "--dry-run")
    assert "after=(--hold)" in shown["script"]
    made = site.json(*chains, "--name", "c", "--sweep-file", str(points))
    assert made["plan_hash"] == shown["plan_hash"] and len(made["jobs"]) == 3
    behind = site.json("stub-one", "--batch", "one", "--no-rehearse", "--sweep", "value=1,2", "--after", "c.1")
    doomed = site.json("stub-one", "--batch", "one", "value=3", "--after", "c")
    last = site.json("stub-one", "--batch", "one", "value=4", "--after", behind["sweep"])
    assert last["after"] and len(last["after"]) == 2
    assert f"waiting for {made['jobs'][0]['job_id']} (" in site.run("status", "c.2").stdout
    runs = [point["plan"]["run_dir"] for point in shown["points"]]
    wait_until(lambda: [row for row in _history(runs[2]) if row["event"] == "ended"], 240, "the last chain")
    spans = [(rows[0]["time"], rows[-1]["time"]) for rows in map(_history, runs)]
    assert spans[0][1] <= spans[1][0] and spans[1][1] <= spans[2][0], spans
    root = tmp_path / "jobs"
    states = [_end(root / job["job_id"])["state"] for job in made["jobs"]]
    assert states == ["COMPLETED", "FAILED", "COMPLETED"]
    assert [_end(root / job["job_id"])["state"] for job in behind["jobs"]] == ["COMPLETED", "COMPLETED"]
    assert "it was to follow c-" in _end(root / doomed["job_id"])["error"]
    assert _end(Path(last["job_dir"]))["state"] == "COMPLETED"


FILE = """\
steps:
  first: {recipe: stub-one, overrides: {value: 1}}
  rates:
    recipe: stub-one
    needs: first
    overrides: {pause: 0.5, code: 7}
    sweep: {points: {good: {steps: 2}, bad: {steps: 3, fail_rank: 0}, more: {steps: 900}}, STOP}
  last: {recipe: stub-one, needs: {rates: any}, overrides: {value: "${steps.rates.best.run_dir}"}}
"""


def test_a_pipeline_that_is_cancelled_and_gone_on_with(site: Checkout, cluster: Cluster) -> None:
    """All its steps end, and the same command goes on; a point that is stopped by hand is an end for who takes any."""
    (site.root / "p.yaml").write_text(FILE.replace(", STOP", ""))
    words = ("pipeline", "p.yaml", "--batch", "one")
    made = site.json(*words)
    again = site.json(*words)  # nothing twice
    assert len(site.json("jobs")) == 5 and made["plan_hash"] == again["plan_hash"]
    assert site.run("cancel", "p").returncode == 0
    wait_until(lambda: not cluster.check("squeue", "-h").strip(), LIMIT_S, "an empty queue")
    text = site.run("status", "p").stdout
    assert "CANCELLED" in text and "go on: python launch.py pipeline p.yaml --batch one" in text
    site.json(*words)
    rates = made["steps"][1]["sweep"]
    wait_until(
        lambda: [row["state"] for row in site.json("status", rates)["points"]] == ["COMPLETED", "FAILED", "RUNNING"],
        180,
        "two of three points",
    )
    assert site.run("cancel", f"{rates}.3", "--now").returncode == 0
    end = time.monotonic() + 120
    while site.json("status", "p")["steps"][2]["state"] != "COMPLETED" and time.monotonic() < end:
        time.sleep(2)
    assert site.json("status", "p")["steps"][2]["state"] == "COMPLETED"


def test_points_that_a_limit_of_failures_keeps_from_beginning(site: Checkout, cluster: Cluster) -> None:
    """Are an end, too, with no launcher to see it: an array of one at a time, of which the second fails."""
    text = FILE.replace("    needs: first\n", "").replace("steps: 900", "steps: 4")
    (site.root / "q.yaml").write_text(text.replace("STOP", "at_most: 1, stop_after_failures: 1"))
    plan = site.json("pipeline", "q.yaml", "--batch", "one", "--dry-run")
    assert "--array=0-2%1" in plan["steps"][1]["sweep"]["script"]
    site.json("pipeline", "q.yaml", "--batch", "one")
    last = plan["steps"][2]["plan"]
    wait_until(Path(last["job_dir"], "exit.json").exists, 180, "the last step")
    assert _end(Path(last["job_dir"]))["state"] == "COMPLETED"
    good = plan["steps"][1]["sweep"]["points"][0]["plan"]["run_dir"]
    assert Path(last["config"]["value"]).resolve() == Path(good)
    assert [row["state"] for row in site.json("status", "q")["steps"][1]["points"]][1:] == ["FAILED", "CANCELLED"]
    after = site.json("pipeline", "q.yaml", "--batch", "one", "--dry-run")
    assert [step["state"] for step in after["steps"]] == ["FINISHED"] * 3
    (site.root / "r.yaml").write_text(text.replace(", STOP", "").replace("rates: any", "rates: all"))
    attached = site.run("pipeline", "r.yaml", "--run", "one", "--json")
    document = json.loads(attached.stdout)
    assert (attached.returncode, document["exit_code"]) == (7, 7), attached.stderr
    assert [step["exit_code"] for step in document["steps"]] == [None, 7, 143]
    assert "FAILED" in attached.stderr


NONE = """\
steps:
  rates:
    recipe: stub-one
    overrides: {code: 7, fail_rank: 0, "run.env.additional_parameters": {begin: now+1hour}}
    sweep: {points: {a: {steps: 1}, b: {steps: 2}}}
  last: {recipe: stub-one, needs: {rates: any}, overrides: {value: "${steps.rates.best.run_dir}"}}
"""


def test_no_point_has_completed(site: Checkout, cluster: Cluster) -> None:
    """What takes any of them is cancelled in the queue, and what was to follow the pipeline; with nobody there."""
    (site.root / "none.yaml").write_text(NONE)
    made = site.json("pipeline", "none.yaml", "--batch", "one")["steps"]
    behind = site.json("stub-one", "--batch", "one", "--no-rehearse", "value=8", "--after", "none")
    assert [run["job_id"] for run in behind["after"]] == [made[1]["job_id"]]
    points = [job["job_id"] for job in made[0]["jobs"]]
    cluster.check("scontrol", "update", f"jobid={made[0]['jobs'][0]['slurm_id'].partition('_')[0]}", "starttime=now")
    end = _end(site.root.parent / "jobs" / made[1]["job_id"])
    names = ", ".join(point.rpartition(".")[0] for point in points)
    said = f"it was to follow any point of sweep {made[0]['sweep']}, and none has completed: {names}"
    assert (end["state"], end["error"]) == ("CANCELLED", said)
    assert not (site.root.parent / "jobs" / made[1]["job_id"] / "chain").exists()  # it has had no node
    assert _end(Path(behind["job_dir"]))["error"] == f"it was to follow {made[1]['job_id']} (CANCELLED)"
    refused = site.run("resume", made[1]["job_id"])
    assert (refused.returncode, "none has completed" in refused.stderr) == (3, True), refused.stderr


SHARED = """\
steps:
  rates: {recipe: stub-one, name: shared, overrides: {steps: 600, pause: 0.3}, sweep: {grid: {value: [1, 2]}}}
  last: {recipe: stub-one, needs: rates}
"""


def test_two_checkouts_share_one_limit(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    """A sweep of one name in one job root: with chains they wait for each other, else an array has the places left."""
    (tmp_path / "other").mkdir()
    other = learner.site(tmp_path / "other", cluster)
    (other.root / "env.toml").write_text((site.root / "env.toml").read_text())
    common = ("--batch", "one", "--no-rehearse", "--name", "shared", "steps=600", "pause=0.3")
    first = site.json("stub-one", *common, "--sweep", "value=1,2", "--at-most", "2")
    shown = other.json("stub-one", *common, "--sweep", "value=3,4,5", "--at-most", "3", "--dry-run")
    assert "#SBATCH --array=0-2%1\n" in shown["script"]
    full = other.json("stub-one", *common, "--sweep", "value=3,4,5", "--at-most", "2", "--dry-run")
    array = first["jobs"][0]["slurm_id"].partition("_")[0]
    assert f"#SBATCH --dependency=afterany:{array}\n" in full["script"]
    (other.root / "shared.yaml").write_text(SHARED)
    refused = other.run("pipeline", "shared.yaml", "--batch", "one", "--force")
    assert (refused.returncode, "another checkout has submitted" in refused.stderr) == (3, True), refused.stderr
    assert other.json("jobs") == []  # above all not the step behind it
    assert site.run("cancel", "shared", "--now").returncode == 0
    gone = other.json("stub-one", *common, "--sweep", "value=3,4,5", "--at-most", "2", "--dry-run")
    assert "#SBATCH --array=0-2%2\n" in gone["script"]
    chains = ("learner", "--batch", "chain", "--no-rehearse", "run.env.nodes=1", "--name", "chained", "--at-most", "1")
    begun = site.json(*chains, "--sweep", "steps=600")
    waits = other.json(*chains, "--sweep", "steps=5")
    assert f"waiting for {begun['jobs'][0]['job_id']} (" in other.run("status", "chained.1").stdout
    assert site.run("cancel", "chained", "--now").returncode == 0
    wait_until(
        lambda: other.json("status", waits["jobs"][0]["job_id"])["state"] == "COMPLETED",
        180,
        "the other checkout's chain",
    )
