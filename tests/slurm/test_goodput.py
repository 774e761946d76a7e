"""Where the GPU time of a chain with known faults went, against Slurm's own times and the training's own diary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.slurm import learner
from tests.slurm.cluster import Cluster
from tests.slurm.test_chain import Run
from tests.slurm.test_truth import heal

pytestmark = [pytest.mark.slurm, pytest.mark.e2e, pytest.mark.slow]

DEVICES = 2
STEPS, EVERY, SAVE_S = 220, 20, 1.5


def times(cluster: Cluster, job: int) -> tuple[float, float]:
    """Start and end of a Slurm job, in unix seconds, to the second."""
    shown = cluster.run("scontrol", "-o", "show", "job", str(job), SLURM_TIME_FORMAT="%s").stdout
    fields = dict(word.partition("=")[::2] for word in shown.split())
    return float(fields["StartTime"]), float(fields["EndTime"])


def by_hand(spans: list[tuple[float, float]], diary: list[dict[str, Any]]) -> dict[str, float]:
    """Device-seconds by part: of each attempt's time at Slurm, what its diary tells; idle is what comes behind it.

    What a job does after its time limit, until it is killed, Slurm counts for nobody (22.05: EndTime, and sacct).
    """
    parts = dict.fromkeys(("steps", "lost_steps", "startup", "saving", "idle"), 0.0)
    last = {entry["step"]: entry["since"] for entry in diary if entry["what"] == "step"}
    for start, end in spans:
        own = [entry for entry in diary if start <= entry["since"] < end]
        for entry in own:
            part = "saving" if entry["what"] == "saving" else "lost_steps"
            part = "steps" if entry["what"] == "step" and last[entry["step"]] == entry["since"] else part
            parts[part] += max(0.0, min(entry["until"], end) - entry["since"])
        parts["startup"] += own[0]["since"] - start
        parts["idle"] += end - min(own[-1]["until"], end)
    return {part: seconds * DEVICES for part, seconds in parts.items()}


@pytest.mark.timeout(900)
def test_the_goodput_of_a_chain_is_that_of_a_hand_computation(tmp_path: Path, cluster: Cluster) -> None:
    """A rank is killed between two checkpoints, a time limit strikes in the middle of a step, the third finishes."""
    site = learner.site(tmp_path, cluster)
    try:
        changed = (f"steps={STEPS}", f"every={EVERY}", f"save_s={SAVE_S}", "work=1.2", "pause=0.0", "diary=true")
        run = Run(site, *changed)
        run.reach(0, 72)
        run.kill_rank(1)
        run.reach(1, 151)
        cluster.expire(run.attempt(1))
        run.end()
        assert run.states() == ["FAILED", "TIMEOUT", "COMPLETED"]
        begun = run.history("begun")
        spans = [times(cluster, int(entry["slurm_id"])) for entry in begun]
        found = site.json("status", run.id)["goodput"]
    finally:
        heal(cluster)
    diary = [json.loads(line) for line in (run.run_dir / "diary.jsonl").read_text().splitlines()]
    hand, total = by_hand(spans, diary), DEVICES * sum(end - start for start, end in spans)
    assert hand["lost_steps"] > 10 * DEVICES  # both faults have cost something
    told = {part: hours * 3600 for part, hours in found["parts"].items()}
    told["idle"] += told.pop("outside")
    assert found["hours"] * 3600 == pytest.approx(total, rel=0.01)
    assert found["goodput"] == pytest.approx(hand["steps"] / total, abs=0.01)
    for part, seconds in hand.items():
        assert told[part] == pytest.approx(seconds, abs=0.01 * total), part
    assert sum(told.values()) == pytest.approx(found["hours"] * 3600)
