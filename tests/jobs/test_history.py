"""The launcher's view of a run's attempts and of bad nodes."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.executors.slurm.state import Own, judge
from automodel_launch.jobs import bad_nodes, history, rundir
from automodel_launch.launch import planning
from automodel_launch.remote import slurm_query
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.remote.slurm_query import Job, parse
from tests.workbench import Bench, make_bench


def _write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_attempts_and_their_table(tmp_path: Path) -> None:
    one = {"job_id": "a.1", "attempt": 0}
    _write(
        tmp_path / "history.jsonl",
        {"event": "begun", "time": 10.0, **one, "slurm_id": "7", "nodes": ["c1", "c2"], "checkpoint": None},
        {"event": "ended", "time": 20.0, **one, "slurm_id": "7", "state": "CANCELLED", "goes_on": True, "why": "?"},
        {"event": "ended", "time": 21.0, **one, "slurm_id": "7", "state": "NODE_FAIL", "from_step": 0, "to_step": 8}
        | {"goes_on": True, "why": "a node failed"},
        {"event": "begun", "time": 30.0, **one, "attempt": 1, "slurm_id": "8", "nodes": [f"c{i}" for i in range(9)]},
    )
    first, second = history.attempts(str(tmp_path), LOCAL)
    assert (first["began"], first["ended"], first["state"]) == (10.0, 21.0, "NODE_FAIL")
    assert "state" not in second
    lines = history.table([first, second])
    for word in ("a.1 attempt 1 (Slurm 7)", "on c1,c2", "steps 0 to 8", "NODE_FAIL", "then the next: a node failed"):
        assert word in lines[0]
    assert "c0 and 8 more" in lines[1]
    assert history.attempts(str(tmp_path / "none"), LOCAL) == []


def test_bad_nodes_now(tmp_path: Path) -> None:
    day = 24 * 3600.0
    _write(
        tmp_path / "bad-nodes.jsonl",
        {"time": 0.0, "node": "old", "why": "lost", "job_id": "a.1"},
        {"time": day, "node": "c2", "why": "lost", "job_id": "a.1"},
        {"time": day, "node": "c1", "why": "Xid 79", "job_id": "a.2"},
        {"time": day + 5, "node": "c2", "forgiven": True},
        {"node": 3},
    )
    (found,) = bad_nodes.known(str(tmp_path), LOCAL, day + 10)
    assert (found.node, found.until, found.why) == ("c1", 2 * day, "Xid 79")


ENDED = (
    "squeue 1 slurm_load_jobs error: Invalid job id specified\nscontrol 0 JobId=7 JobName=a.1 JobState={} ExitCode=1:0"
)


@pytest.mark.parametrize(
    ("following", "state"),
    [
        ("squeue 0 PENDING|Dependency|N/A||/jobs/a.1|a.1", "PENDING"),
        ("squeue 0 RUNNING|None|N/A|c3||a.1", "RUNNING"),
        (ENDED.format("CANCELLED"), "FAILED"),
        (ENDED.format("COMPLETED"), "COMPLETED"),
        ("squeue 1 slurm_load_jobs error: Invalid job id specified", "FAILED"),
        ("squeue 1 Unable to contact slurm controller", None),
    ],
)
def test_the_next_job_of_a_chain_counts(following: str, state: str | None) -> None:
    text = ENDED.format("FAILED") + f"\nnext\n{following}\nown exit \n"
    assert parse(text, Job("a.1", "/jobs/a.1")).state == state


def test_between_two_attempts() -> None:
    record = {"state": "FAILED", "code": 1, "complete": True, "goes_on": True, "why": "a node failed", "error": "x"}
    own = Own(exit=record, node={"attempt": 0})
    waiting = judge(slurm_query.Answer(True, "PENDING", "Resources"), own)
    assert waiting.state == "PENDING"
    assert waiting.reason == "attempt 1 has ended (a node failed), the next one: Resources"
    assert judge(slurm_query.Answer(False), own).state == "UNKNOWN"  # the next attempt may run meanwhile
    stopped = Own(exit=record, node={"attempt": 0}, stopped=True)
    assert judge(slurm_query.Answer(True, "FAILED", code=1), stopped).state == "CANCELLED"
    assert judge(slurm_query.Answer(True, "FAILED", code=1), own).state == "FAILED"


# What the plan says of it


CLUSTER = """
[c]
executor = "slurm"
time = "10"
gpus_per_node = 1
container_image = "none"
remote_job_dir = "/shared/jobs"
tunnel = "ssh"
host = "login.invalid"
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # NeMo-Run reads it to make a script; pytest refuses that
    return make_bench(tmp_path).trains(own_recipe=True)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", None),
        ('until = "done"', {"jobs": None, "failures": 3, "exclude": []}),
        ('chain = 4\nmax_failures = 9\nexclude = "c[1-2]"', {"jobs": 4, "failures": 9, "exclude": ["c[1-2]"]}),
    ],
)
def test_a_chain_stands_in_the_plan(bench: Bench, keys: str, expected: dict[str, Any] | None) -> None:
    bench.env(CLUSTER + keys)
    plan = bench.plan("+checkpoint={checkpoint_dir: /x}", profile="c")
    assert plan.agent["chain"] == expected
    assert plan.agent["checkpoint_dir"] == "/x"
    assert f"node_agent.sh begin {plan.job_dir}" in plan.script


def test_a_chain_has_no_effect_here_and_that_is_said(bench: Bench) -> None:
    bench.env('[here]\nexecutor = "local"\nuntil = "done"\n')
    found = [f.message for f in checks.run(bench.plan(profile="here")) if f.code == "no-effect"]
    assert len(found) == 1 and "until" in found[0]


def test_all_jobs_of_a_run_are_one_to_wandb(bench: Bench) -> None:
    first = bench.plan("+wandb={project: p}")
    run = first.agent["env"]["WANDB_RUN_ID"]
    assert run.startswith(first.run_name[:50]) and len(run) <= 64
    assert first.agent["env"]["WANDB_RESUME"] == "allow"
    assert planning.with_job_id(first, f"{first.run_name}.7", {}).agent["env"]["WANDB_RUN_ID"] == run
    assert "WANDB_RUN_ID" not in bench.plan().agent["env"]
    own = bench.plan("+wandb={project: p}", "run.env.env_vars.WANDB_RUN_ID=mine")
    assert own.agent["env"]["WANDB_RUN_ID"] == "mine"


def test_a_paused_run_is_refused(bench: Bench) -> None:
    plan = bench.plan()
    Path(plan.run_dir).mkdir(parents=True)
    Path(plan.run_dir, "stop").touch()
    (found,) = [f for f in checks.run(plan) if f.code == "paused"]
    assert found.level == "error"
    assert f"{plan.run_dir}/stop" in found.message


def test_another_number_of_processes(bench: Bench) -> None:
    """Of a run that has a checkpoint to go on from."""
    plan = bench.plan("+checkpoint={checkpoint_dir: '${run.dir}/checkpoints'}")
    rundir.begin(plan.run_dir, plan.trained, world_size=plan.world_size * 2)
    assert not [f for f in checks.run(plan) if f.code == "other-size"]
    Path(plan.run_dir, "checkpoints", "epoch_0_step_4").mkdir(parents=True)
    (found,) = [f for f in checks.run(plan) if f.code == "other-size"]
    assert f"started with {plan.world_size * 2} processes" in found.message


def test_bad_nodes_are_noted_before_a_job_is_submitted(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    root.mkdir()
    text = CLUSTER.replace('tunnel = "ssh"\nhost = "login.invalid"\n', "").replace("/shared/jobs", str(root))
    _write(root / "bad-nodes.jsonl", {"time": time.time(), "node": "c7", "why": "lost", "job_id": "a.1"})
    for exclude, noted in (("", True), ('exclude = "c7,c9"\n', False)):
        bench.env(text + exclude)
        found = [f for f in checks.run(bench.plan(profile="c"), offline=True) if f.code == "bad-nodes"]
        assert bool(found) is noted
