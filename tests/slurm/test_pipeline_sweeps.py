"""A sweep in the middle of a pipeline on a real Slurm: waited for with nobody there, and its best point taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S, Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.test_truth import heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

FILE = """\
steps:
  data: {recipe: stub-one, overrides: {steps: 1}}
  rates:
    recipe: stub-one
    needs: data
    overrides: {code: 7, pause: 0.5}
    sweep:
      points: {short: {steps: 2}, long: {steps: 4}, fails: {steps: 3, fail_rank: 0}}
      at_most: 2
  all: {recipe: stub-one, needs: rates, overrides: {value: 1}}
  last: {recipe: stub-one, needs: {rates: any}, overrides: {value: "${steps.rates.best.run_dir}"}}
  after: {recipe: stub-one, overrides: {value: "${steps.last.run_dir}"}}
"""


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Iterator[Checkout]:
    cluster.empty()
    site = make_site(tmp_path, cluster.env)
    (site.root / "swept.yaml").write_text(FILE)
    yield site
    heal(cluster)


def _end(plan: dict[str, Any]) -> dict[str, Any]:
    """Without a look by a launcher, which would do what the agents are to do."""
    path = Path(plan["job_dir"], "exit.json")
    wait_until(path.exists, 180, str(path))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_what_needs_a_sweep_waits_for_all_its_points(site: Checkout, cluster: Cluster) -> None:
    """Each point behind the data; a failure cancels what needs all, and what takes any goes on with the best."""
    command = ("pipeline", "swept.yaml", "--batch", "one")
    shown = site.json(*command, "--dry-run")
    steps = {step["name"]: step for step in shown["steps"]}
    points = {point["name"]: point["plan"] for point in steps["rates"]["sweep"]["points"]}
    assert "sbatch --parsable --hold" in steps["rates"]["sweep"]["script"]
    made = site.json(*command)
    assert made["plan_hash"] == shown["plan_hash"]
    jobs = {step["name"]: step for step in made["steps"]}
    assert len(jobs["rates"]["jobs"]) == 3
    assert Path(steps["rates"]["sweep"]["directory"], "script").read_text() == steps["rates"]["sweep"]["script"]
    stands = site.json("status", "swept")
    assert [step["name"] for step in stands["steps"]] == ["data", "rates", "all", "last", "after"]
    assert len(stands["steps"][1]["points"]) == 3 and stands["go_on"] is None
    last, after = steps["last"]["plan"], steps["after"]["plan"]
    assert _end(after)["state"] == "COMPLETED"  # with no launcher since
    assert [_end(points[name])["state"] for name in ("short", "long", "fails")] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert "it was to follow" in _end(steps["all"]["plan"])["error"]
    chosen = json.loads(Path(f"{last['config']['value']}.json").read_text())
    assert (chosen["run_name"], chosen["value"]) == (points["long"]["run_name"], 6.0)
    assert Path(last["config"]["value"]).resolve() == Path(points["long"]["run_dir"])
    ends = [
        json.loads((Path(plan["run_dir"]) / "history.jsonl").read_text().splitlines()[1]) for plan in points.values()
    ]
    begun = json.loads((Path(last["run_dir"]) / "history.jsonl").read_text().splitlines()[0])
    assert max(end["time"] for end in ends) < begun["time"]
    wait_until(lambda: not cluster.check("squeue", "-h").strip(), LIMIT_S, "Slurm, too, has seen the last step's end")
    shown = site.run("status", "swept").stdout
    assert shown.startswith("swept: 3 COMPLETED, 1 FAILED, 1 CANCELLED\n"), shown
    assert "2 of 3" in shown and "go on: python launch.py pipeline swept.yaml --batch one" in shown
    rows = {row["job_id"]: row["of"] for row in site.json("jobs")}
    assert rows[last["job_id"]] == {"pipeline": "swept", "step": "last"}
    assert rows[points["long"]["job_id"]] == {"pipeline": "swept", "step": "rates"}
    assert site.run("attach", "swept").returncode == 7
    refused = site.run("cancel", "swept")
    assert (refused.returncode, "no step of swept is in the queue or runs" in refused.stderr) == (2, True)


def test_a_sweep_behind_a_job_whose_end_nobody_saw(site: Checkout, cluster: Cluster) -> None:
    """It was cancelled in the queue, so no agent tells who waits; whoever looks at the sweep does."""
    later = "run.env.additional_parameters={begin: now+1hour}"
    first = site.json("stub-one", "--batch", "one", "--no-rehearse", "value=5", later)
    behind = site.json(
        "stub-one", "--batch", "one", "--no-rehearse", "--sweep", "value=6,7", "--after", first["job_id"]
    )
    assert f"waiting for {first['job_id']} (PENDING)" in site.run("status", behind["sweep"]).stdout
    cluster.check("scancel", str(first["handle"]["slurm_id"]))
    attached = site.run("attach", behind["sweep"])
    assert (attached.returncode, attached.stdout) == (143, f"{behind['sweep']}: 2 CANCELLED\n"), attached.stderr
    assert f"it was to follow {first['job_id']} (CANCELLED)" in attached.stderr
    assert not cluster.check("squeue", "-h").strip()
