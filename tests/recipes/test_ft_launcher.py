"""`launcher = "ft"`: command line and heartbeats always; a real run where nvidia_resiliency_ext is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.ports import free_port
from tests.recipes.pretrain_fixtures import ROOT, SMALL, Run, write_config
from tests.recipes.test_node_agent import Job, eventually, make_job  # noqa: F401
from tests.recipes.test_node_agent_parts import load

sys.path.insert(0, str(ROOT / "recipes"))

import contract
import ft_heartbeat
from node_agent_lib import command, rank_files, worker
from node_agent_lib.files import write_json
from node_agent_lib.stall import Progress, Stall
from node_agent_lib.training import Training

real = pytest.mark.skipif(
    importlib.util.find_spec("nvidia_resiliency_ext") is None, reason="setup.sh --dev installs nvidia-resiliency-ext"
)

KILLED_ONCE = """
import os, signal
from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction

class KilledOnce(TrainFinetuneRecipeForNextTokenPrediction):
    def log_train_metrics(self, log_data):
        super().log_train_metrics(log_data)
        here = (log_data.step, os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"])
        if here == (7, "1", "0"):
            os.kill(os.getpid(), getattr(signal, os.environ["KILL_WITH"]))
"""


def options_of(line: list[str]) -> dict[str, str]:
    """The options before the agent's path."""
    options = line[3 : line.index("/code/node_agent.py")]
    return dict(zip(options[::2], options[1::2], strict=True))


def test_ft_launchers_command_line(tmp_path: Path) -> None:
    spec = load(tmp_path, launch="ft", stall_s=900.0)
    line = command.training_command(spec, "/bin/python3", "/code/node_agent.py", "/tmp/x", 1, "head")
    assert line[:3] == ["/bin/python3", "-m", "nvidia_resiliency_ext.fault_tolerance.launcher"]
    assert line[-5:] == ["/code/node_agent.py", "worker", "/jobs/run-1/code/recipes/pretrain.py", "--config", "a b"]
    options = options_of(line)
    assert (options["--nnodes"], options["--nproc-per-node"], options["--max-restarts"]) == ("2", "8", "3")
    assert (options["--rdzv-backend"], options["--rdzv-endpoint"]) == ("c10d", "head:29999")
    assert (options["--rdzv-id"], options["--rdzv-conf"]) == ("run-1", "is_host=0")
    assert options["--ft-rank-heartbeat-timeout"] == "900.0"
    assert options["--ft-initial-rank-heartbeat-timeout"] == "9000.0"


def test_its_command_line_on_one_node_without_a_stall(tmp_path: Path) -> None:
    spec = load(tmp_path, launch="ft", nnodes=1, rendezvous={"id": "x", "port": None})
    options = options_of(command.training_command(spec, "p", "/code/node_agent.py", "/tmp/x", 0, None))
    assert (options["--rdzv-endpoint"], options["--local-addr"]) == ("127.0.0.1:0", "127.0.0.1")
    assert {options["--ft-rank-heartbeat-timeout"], options["--ft-initial-rank-heartbeat-timeout"]} == {"inf"}


def write_rank(directory: Path, rank: int, watcher: int, **changes: Any) -> None:
    """A rank's record, as its watcher writes it."""
    record = {"rank": rank, "local_rank": rank, "host": "h", "pid": watcher + 1, "pid_start": None, "started": 1.0}
    record |= {"worker": watcher, "worker_start": None, "ended": 2.0, "code": 0}
    write_json(rank_files.record_path(str(directory), rank), record | changes)


def test_the_last_life_of_a_rank_counts(tmp_path: Path) -> None:
    training = Training(str(tmp_path), (0, 1), restartable=True)
    write_rank(tmp_path, 0, 100, code=1, failed=2.0, error="RuntimeError: Connection closed by peer")
    write_rank(tmp_path, 1, 200, code=137, failed=1.5, error="killed by SIGKILL")
    training.refresh()
    training.refresh()
    assert (training.all_ended(), training.succeeded(), training.restarts) == (True, False, 0)
    write_rank(tmp_path, 0, 300)
    write_rank(tmp_path, 1, 400)
    training.refresh()
    assert (training.succeeded(), training.failed_on_its_own(), training.restarts) == (True, False, 2)
    assert [record.error for record in training.replaced][1] == "killed by SIGKILL"


def test_ranks_may_have_other_numbers_than_the_nodes(tmp_path: Path) -> None:
    training = Training(str(tmp_path), (0, 1), restartable=True)
    for rank in (2, 3):
        write_rank(tmp_path, rank, 100 * rank)
    training.refresh()
    assert training.succeeded()


def test_no_rank_starts_again_once_the_job_was_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(str(tmp_path), (0,), restartable=True)
    write_rank(tmp_path, 0, 100)
    training.refresh()
    training.ask()
    monkeypatch.setenv(contract.AGENT_DIR_VAR, str(tmp_path))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    before = (tmp_path / "rank-0.json").read_text()
    assert worker.main("script.py", []) == 1
    assert (tmp_path / "rank-0.json").read_text() == before


def test_loading_after_a_restart_is_no_hang() -> None:
    stall, progress = Stall(60.0, True), Progress(steps=5)
    assert stall.check(progress, 0.0) is None
    stall.restarted(progress)
    assert not any(stall.check(progress, float(second)) for second in range(1, 600))
    progress.steps = 6
    assert not any(stall.check(progress, float(second)) for second in range(600, 655))
    assert any(stall.check(progress, float(second)) for second in range(655, 670))


class Recipe:
    """Of AutoModel's recipe, what heartbeats need."""

    def log_train_metrics(self, data: str) -> str:
        return data

    def save_checkpoint(self, *, step: int) -> int:
        return step


def test_heartbeats_after_each_step_and_around_each_save(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fail = [False]

    class Client:
        def init_workload_monitoring(self) -> None:
            calls.append("init")

        def send_heartbeat(self) -> None:
            if fail[0]:
                raise OSError("gone")
            calls.append("beat")

        def shutdown_workload_monitoring(self) -> None:
            calls.append("end")

    library = types.ModuleType("nvidia_resiliency_ext.fault_tolerance")
    library.RankMonitorClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvidia_resiliency_ext", types.ModuleType("nvidia_resiliency_ext"))
    monkeypatch.setitem(sys.modules, "nvidia_resiliency_ext.fault_tolerance", library)
    said: list[str] = []
    ft_heartbeat.connect(Recipe(), said.append).beat()
    assert calls == []
    monkeypatch.setenv("LAUNCH_LAUNCHER", "ft")
    recipe = Recipe()
    heartbeat = ft_heartbeat.connect(recipe, said.append)
    assert (recipe.log_train_metrics("x"), recipe.save_checkpoint(step=3)) == ("x", 3)
    assert calls == ["init", "beat", "beat", "beat"]
    fail[0] = True
    recipe.log_train_metrics("the training goes on")
    recipe.log_train_metrics("and says it once")
    heartbeat.close()
    assert calls[4:] == ["end"]
    assert said == ["no more heartbeats to ft_launcher: gone"]


REDUCES = """
import os, signal, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
if sys.argv[1] == "killed" and first and dist.get_rank() == 1:
    time.sleep(2)  # after both agents have seen both ranks
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "exits":
    sys.exit(3)
total = torch.ones(1)
dist.all_reduce(total)
if sys.argv[1] == "waits":
    open(f"ready-{dist.get_rank()}", "w").close()
    time.sleep(300)
print("total", int(total), flush=True)
dist.destroy_process_group()
"""


@pytest.fixture
def reduces(tmp_path: Path, make_job: Callable[..., Job]) -> Callable[..., Job]:  # noqa: F811
    """A job under ft_launcher whose two ranks add up ones."""
    (tmp_path / "reduces.py").write_text(REDUCES)

    def make(how: str, **changes: Any) -> Job:
        return make_job("reduces.py", how, code_dir=str(tmp_path), launch="ft", **{"nproc_per_node": 2, **changes})

    return make


@real
def test_two_nodes_restart_together(reduces: Callable[..., Job]) -> None:
    job = reduces("killed", nnodes=2, nproc_per_node=1, rendezvous={"id": "two", "port": free_port()})
    agents = [job.agent(node=node) for node in (1, 0)]
    assert [agent.wait(LIMIT_S) for agent in agents] == [0, 0], [agent.communicate()[1] for agent in agents]
    assert (job.exit["state"], job.exit["code"]) == ("COMPLETED", 0)
    for rank in (0, 1):
        assert "total 2" in (job.dir / "logs" / f"rank-{rank}.log").read_text()
    said = "".join((job.dir / "logs" / f"agent-{node}.log").read_text() for node in (0, 1))
    assert "rank 1 was started again; before: killed by SIGKILL" in said
    eventually(lambda: job.processes() == [], "the end of all processes")


@real
@pytest.mark.slow
def test_a_stopped_job_is_not_restarted(reduces: Callable[..., Job], tmp_path: Path) -> None:
    job = reduces("waits", stop_grace_s=60.0)
    agent = job.agent()
    eventually(lambda: all((tmp_path / f"ready-{rank}").exists() for rank in (0, 1)), "both ranks")
    os.kill(agent.pid, signal.SIGTERM)
    assert agent.wait(LIMIT_S) == 128 + signal.SIGTERM, agent.communicate()[1]
    assert job.exit["state"] == "CANCELLED"
    assert "restarted" not in [event["state"] for event in job.lines("events.jsonl")]
    eventually(lambda: job.processes() == [], "the end of all processes")


@real
@pytest.mark.slow
def test_a_killed_agent_takes_everything_along(reduces: Callable[..., Job], tmp_path: Path) -> None:
    job = reduces("waits")
    agent = job.agent()
    eventually(lambda: all((tmp_path / f"ready-{rank}").exists() for rank in (0, 1)), "both ranks")
    agent.kill()
    eventually(lambda: not job.processes(), "ft_launcher, its monitors and the ranks to die")


@real
@pytest.mark.slow
def test_what_would_end_so_again_is_not_restarted(reduces: Callable[..., Job]) -> None:
    job = reduces("exits")
    assert job.run()[0] == 3
    assert (job.exit["state"], job.exit["code"]) == ("FAILED", 3)
    assert "restarted" not in [event["state"] for event in job.lines("events.jsonl")]


@real
@pytest.mark.slow
@pytest.mark.train
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "stall_s"), [("SIGKILL", None), ("SIGSTOP", 20.0)])
def test_a_lost_rank_is_restarted_within_the_job(
    make_job: Callable[..., Job],  # noqa: F811
    tmp_path: Path,
    data_dir: Path,
    whole: Run,
    name: str,
    stall_s: float | None,
) -> None:
    directory = tmp_path / "disturbed"
    directory.mkdir()
    (directory / "killed_once.py").write_text(KILLED_ONCE)
    config = write_config("tiny", directory, data_dir, {**SMALL, "_step_recipe": "killed_once:KilledOnce"})
    job = make_job(
        "recipes/pretrain.py", "--config", config, code_dir=str(ROOT), launch="ft", nproc_per_node=2,
        run_dir=str(directory), stall_s=stall_s,
        env={"PYTHONPATH": str(directory), "OMP_NUM_THREADS": "1", "KILL_WITH": name},
    )  # fmt: skip
    code, said = job.run(limit_s=540)
    assert code == 0, said
    assert (job.exit["state"], job.exit["code"]) == ("COMPLETED", 0)
    assert json.loads((directory / "finished.json").read_text())["step"] == 12
    run = Run(code, said, directory)
    steps = [record["step"] for record in run.records()]
    assert steps == [*range(8), *range(5, 12)], "from the checkpoint of step 4 on"
    for step, loss in whole.losses().items():
        assert run.losses()[step] == pytest.approx(loss, abs=1e-4)
    restarted = [event for event in job.lines("events.jsonl") if event["state"] == "restarted"]
    assert sorted(event["rank"] for event in restarted) == [0, 1]
    assert "SIGKILL" in next(event["error"] for event in restarted if event["rank"] == 1)
    assert not job.processes()
