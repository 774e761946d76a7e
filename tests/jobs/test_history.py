"""The launcher's view of a run's attempts and of bad nodes."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.errors import ProfileError
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


@pytest.mark.parametrize("event", ["begun", "ended"])
@pytest.mark.parametrize("odd", [5, True, {"a": 1}, [None, 3], "c1"])
def test_names_of_nodes_of_any_kind(tmp_path: Path, event: str, odd: Any) -> None:
    line = {"event": event, "time": 10.0, "job_id": "a.1", "attempt": 0, "state": "FAILED", "spares": odd, "nodes": odd}
    _write(tmp_path / "history.jsonl", line)
    rows = history.attempts(str(tmp_path), LOCAL)
    assert (rows[0]["nodes"], rows[0]["spares"]) == ([], [])
    assert "a.1 attempt 1" in history.table(rows)[0]


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
        ("squeue 0 PENDING|Dependency|N/A||/jobs/a.1|a.1|", "PENDING"),
        ("squeue 0 RUNNING|None|N/A|c3||a.1|", "RUNNING"),
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


OVER = {
    "state": "COMPLETED",
    "code": 0,
    "complete": True,
    "goes_on": False,
    "why": "the run is finished",
    "error": None,
}
GOES_ON = {"state": "TIMEOUT", "code": 143, "complete": True, "goes_on": True, "why": "the time limit was reached"}


@pytest.mark.parametrize("slurm", ["PENDING", "RUNNING", "FAILED", "COMPLETED"])
def test_a_job_that_could_not_be_cancelled_does_not_undo_the_end(slurm: str) -> None:
    """It will end as soon as it starts; an attached launcher does not wait for that."""
    answer = slurm_query.Answer(True, slurm, code=1, following=True)
    assert judge(answer, Own(exit=OVER)).state == "COMPLETED"
    cancelled = judge(answer, Own(exit={**OVER, "state": "CANCELLED", "code": 143}))
    assert (cancelled.state, cancelled.code) == ("CANCELLED", 143)
    if slurm in ("PENDING", "RUNNING"):
        assert judge(answer, Own(exit=OVER, resumed=True)).state == slurm


@pytest.mark.parametrize(
    ("following", "state", "words"),
    [
        (ENDED.format("FAILED"), "FAILED", "Slurm job for it ended (FAILED, line 9: python3: command not found)"),
        (ENDED.format("NODE_FAIL"), "FAILED", "(NODE_FAIL, line 9: python3: command not found) before it began"),
        ("squeue 1 slurm_load_jobs error: Invalid job id specified", "FAILED", "no further attempt is queued"),
        (ENDED.format("CANCELLED"), "CANCELLED", "was taken out of the queue"),
    ],
)
def test_a_chain_that_nobody_goes_on_with_says_so(following: str, state: str, words: str) -> None:
    answer = parse(ENDED.format("FAILED") + f"\nnext\n{following}\nnext\n{following}\n", Job("a.1", "/jobs/a.1"))
    now = judge(answer, Own(exit=GOES_ON, log="line 9: python3: command not found", log_name="logs/x.out"))
    assert (now.state, now.over, now.stuck) == (state, True, state == "FAILED")
    assert words in (now.error or "")
    assert "TIMEOUT: the time limit was reached" in (now.error or "")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (slurm_query.Answer(True, "PENDING", "Dependency"), "PENDING"),
        (slurm_query.Answer(True, "RUNNING"), "RUNNING"),
        (slurm_query.Answer(False), "UNKNOWN"),
    ],
)
def test_a_chain_that_goes_on_is_not_called_stuck(answer: slurm_query.Answer, state: str) -> None:
    now = judge(answer, Own(exit=GOES_ON))
    assert (now.state, now.stuck) == (state, False)


def test_the_spare_job_counts_where_the_next_one_has_died() -> None:
    dead, spare = ENDED.format("FAILED"), "squeue 0 PENDING|Resources|N/A||/jobs/a.1|a.1|"
    text = f"{dead}\nnext\n{dead}\nnext\n{spare}\nown exit\n"
    assert parse(text, Job("a.1", "/jobs/a.1")).state == "PENDING"


def test_gpu_hours_of_a_job_are_those_of_all_its_attempts(tmp_path: Path) -> None:
    one, other = {"job_id": "a.1", "gpus": 16}, {"job_id": "a.2", "gpus": 16}
    _write(
        tmp_path / "history.jsonl",
        {**one, "event": "begun", "time": 1000.0, "attempt": 0},
        {"job_id": "a.1", "event": "ended", "time": 9000.0, "attempt": 0, "gpu_hours": 8.0, "state": "TIMEOUT"},
        {**other, "event": "begun", "time": 1000.0, "attempt": 0},
        {**one, "event": "begun", "time": 10000.0, "attempt": 1},
    )
    rows = history.attempts(str(tmp_path), LOCAL)
    assert history.gpu_hours(rows, "a.1", 10900.0) == 12.0
    assert history.is_spent(rows, "a.1") is None
    ends = {"job_id": "a.1", "event": "ended", "time": 1.0, "attempt": 1, "goes_on": False}
    _write(tmp_path / "history.jsonl", {**ends, "why": "its GPU-hours are used up: 12 of 12 (max_gpu_hours = 12)"})
    assert "12 of 12" in (history.is_spent(history.attempts(str(tmp_path), LOCAL), "a.1") or "")


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


def test_an_attempt_that_nobody_has_closed_counts_until_the_next_one(tmp_path: Path) -> None:
    begun = {"job_id": "a.1", "event": "begun", "gpus": 2, "nodes": ["c1"], "slurm_id": "5", "checkpoint": None}
    _write(
        tmp_path / "history.jsonl",
        {**begun, "time": 0.0, "attempt": 0},
        {**begun, "time": 3600.0, "attempt": 1},
    )
    rows = history.attempts(str(tmp_path), LOCAL)
    assert history.gpu_hours(rows, "a.1", 7200.0) == 4.0


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
        (
            'until = "done"\nnodes = 2\nmax_gpu_hours = 1.5',
            {"jobs": None, "failures": 3, "exclude": [], "max_gpu_hours": 1.5, "gpus": 2},
        ),
        ("max_gpu_hours = 100", {"jobs": 1, "failures": 3, "exclude": [], "max_gpu_hours": 100, "gpus": 1}),
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


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("max_gpu_hours = 0", "a number above 0"),
        ("max_gpu_hours = -1.5", "a number above 0"),
        ('max_gpu_hours = "5"', "a number"),
        ("max_gpu_hours = inf", "finite"),
    ],
)
def test_gpu_hours_are_a_number(bench: Bench, keys: str, words: str) -> None:
    bench.env(CLUSTER + keys)
    with pytest.raises(ProfileError, match=words):
        bench.plan(profile="c")


@pytest.mark.parametrize(
    ("gres", "gpus"), [('gres = "gpu:h100:4,nvme:1"', 4), ('gres = "gpu"', 1), ('gres = "nvme:1"', 0)]
)
def test_gpu_hours_need_the_number_of_gpus(bench: Bench, gres: str, gpus: int) -> None:
    bench.env(CLUSTER.replace("gpus_per_node = 1", "nproc_per_node = 1") + f"max_gpu_hours = 5\n{gres}\n")
    if gpus:
        assert bench.plan(profile="c").agent["chain"]["gpus"] == gpus
        return
    with pytest.raises(ProfileError, match="how many GPUs"):
        bench.plan(profile="c")
