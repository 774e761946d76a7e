"""The node agent's rooms one by one: what needs no process."""

from __future__ import annotations

import ast
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from automodel_launch.executors.slurm.state import Own, judge
from automodel_launch.remote.slurm_query import Answer
from tests.conftest import LIMIT_S
from tests.recipes.agent_count import Agent
from tests.recipes.agent_records import node

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import (
    backends,
    command,
    control,
    files,
    finish,
    metrics,
    nodes,
    procs,
    rank_files,
    records,
    slurm,
    spec,
    verdict,
)
from node_agent_lib.error_line import error_line
from node_agent_lib.log import tail
from node_agent_lib.records import Failure, Noticed, RankRecord, Stop

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SOURCES = [RECIPES / "node_agent.py", *sorted((RECIPES / "node_agent_lib").rglob("*.py"))]
AUTOMODEL = backends.get("automodel")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_agent_is_python_3_8_and_standard_library_only(source: Path) -> None:
    tree = ast.parse(source.read_text(), feature_version=(3, 8))
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            found = {alias.name.split(".")[0] for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.level == 0:
            found = {str(item.module).split(".")[0]}
        else:
            continue
        own = {"node_agent_lib", "contract", "data_identity", "secret_rules"}
        assert found <= set(sys.stdlib_module_names) | own


# the verdict


def rank(number: int, code: int = 0, at: float = 100.0, **changes: Any) -> RankRecord:
    """A rank that ended at a time; `error` and `told_to_end` as wanted."""
    record = RankRecord(number, number % 2, "h", 1, 1, 1, 1, started=50.0, ended=at, code=code)
    record.failed = at if code else None
    record.error = f"exit code {code}" if code else None
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def stop(at: float) -> Stop:
    return Stop("SIGTERM", 15, at, "signal")


@pytest.mark.parametrize(("code", "expected"), [("256", 1), ("-512", 1), ("0", 0), ("7", 7), ("None", 0), ("True", 1)])
def test_a_script_that_fails_ends_with_no_code_that_the_system_takes_for_0(
    tmp_path: Path, code: str, expected: int
) -> None:
    """As of `sys.exit(number_of_errors)`."""
    (tmp_path / "script.py").write_text(f"import sys\nsys.exit({code})\n")
    run = "import sys; from node_agent_lib.script_run import ScriptRun as Run; "
    run += "sys.exit(Run(sys.argv[1], 0, sys.argv[2]).run([]))"
    argv = [sys.executable, "-c", run, str(tmp_path), str(tmp_path / "script.py")]
    assert subprocess.run(argv, cwd=RECIPES, check=False).returncode == expected
    told = files.read_json(rank_files.error_path(str(tmp_path), 0))
    assert ("of which the system would see 0" in str(told)) == (code in ("256", "-512"))


def test_all_ended_well() -> None:
    found = verdict.judge([node(0, rank(0), rank(1), step=9)], 1)
    assert (found["state"], found["code"], found["rank"], found["step"]) == ("COMPLETED", 0, None, 9)
    assert (found["started"], found["ended"], found["complete"]) == (40.0, 110.0, True)


def test_the_earliest_failure_wins_over_all_nodes() -> None:
    found = verdict.judge([node(0, rank(0, 3, at=90.0)), node(1, rank(1, 4, at=80.0))], 2)
    assert (found["state"], found["code"], found["rank"], found["node"]) == ("FAILED", 4, 1, "host1")


def test_a_rank_that_was_told_to_end_does_not_count() -> None:
    victim = rank(0, 143, at=79.0, signal="SIGTERM", told_to_end=78.0)
    found = verdict.judge([node(0, victim, rank(1, 4, at=80.0))], 1)
    assert (found["code"], found["rank"]) == (4, 1)


def test_an_exception_before_the_order_to_end_counts() -> None:
    own = rank(0, 1, at=77.0, error="ValueError: x", told_to_end=78.0)
    assert verdict.judge([node(0, own, rank(1, 4, at=80.0))], 1)["error"] == "ValueError: x"


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4711",
        "torch.distributed.DistBackendError: NCCL communicator was aborted on rank 0.",
        "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed.",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "RuntimeError: [Rank 0]: Collective timed out: Watchdog caught collective operation timeout",
    ],
)
def test_a_failed_communication_gives_way(error: str) -> None:
    peer = rank(0, 1, at=80.0, error=error)
    cause = rank(1, 137, at=80.4, signal="SIGKILL", error="killed by SIGKILL")
    assert verdict.judge([node(0, peer), node(1, cause)], 2)["rank"] == 1
    alone = verdict.judge([node(0, peer), node(1, rank(1, 1, at=81.0, error=error))], 2)
    assert (alone["rank"], alone["error"]) == (0, error)
    late = rank(1, 1, at=150.0, error="ValueError: something else, much later")
    assert verdict.judge([node(0, peer), node(1, late)], 2)["rank"] == 0


def test_a_stop_is_cancelled_although_the_ranks_ended_with_0() -> None:
    found = verdict.judge([node(0, rank(0, at=100.0), stop=stop(90.0))], 1)
    assert (found["state"], found["code"], found["signal"], found["error"]) == ("CANCELLED", 143, "SIGTERM", None)


def test_a_stop_after_the_end_changes_nothing() -> None:
    assert verdict.judge([node(0, rank(0, at=100.0), stop=stop(105.0))], 1)["state"] == "COMPLETED"


@pytest.mark.parametrize("skew", [0.0, 300.0, -300.0])
def test_each_node_tells_by_its_own_clock_what_a_stop_came_after(skew: float) -> None:
    """Ranks that had ended before it, all well or one not; and a rank that it has ended."""
    hosts: dict[str, Any] = {"started": 40.0 + skew, "nnodes": 2, "stop": stop(100.0 + skew)}
    first = node(0, rank(0, at=90.0), nnodes=2, stop=stop(100.0))
    for other, state in (
        (rank(1, at=90.0 + skew), "COMPLETED"),
        (rank(1, 3, at=90.0 + skew, error="ValueError: no such shard"), "FAILED"),
        (rank(1, at=103.0 + skew), "CANCELLED"),
        (rank(1, 1, at=103.0 + skew, error="KeyboardInterrupt"), "CANCELLED"),
    ):
        assert verdict.judge([first, node(1, other, **hosts)], 2)["state"] == state, other


@pytest.mark.parametrize("skew", [0.0, 300.0, -300.0])
@pytest.mark.parametrize(("failed", "state"), [(90.0, "FAILED"), (104.0, "TIMEOUT")])
def test_a_failure_where_nobody_has_heard_of_the_stop(
    tmp_path: Path, skew: float, failed: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node 0 saves before the time limit at 100; a rank of node 1, whose clock is minutes off, fails before or then."""
    (tmp_path / "nodes").mkdir()
    time_limit = Stop("SIGTERM", 15, 100.0, "time limit")
    first = node(0, rank(0, at=107.0), nnodes=2, stop=time_limit if failed > 100.0 else None)
    files.write_json(records.node_path(str(tmp_path), 0), first.to_json())
    second = node(1, rank(1, 3, at=failed + skew, error="OSError: a shard is gone"), started=40.0 + skew, nnodes=2)
    journal = SimpleNamespace(record=second, log=SimpleNamespace(arriving=None, take=None, say=print))
    order = SimpleNamespace(job_dir=str(tmp_path), run_dir=str(tmp_path / "run"), nnodes=2, stop_grace_s=1.0)
    monkeypatch.setattr(control, "time", SimpleNamespace(time=lambda: failed + 0.3 + skew, monotonic=time.monotonic))
    monkeypatch.setattr(control, "Loop", lambda *_: None)  # it takes the process's signals
    control.Control(order, journal, None).note_failure()  # type: ignore[arg-type]
    first.stop = time_limit
    told = [records.node_from_json(json.loads(json.dumps(each.to_json()))) for each in (first, second)]
    assert verdict.judge(told, 2)["state"] == state


def test_a_stop_between_a_failure_and_its_being_noticed_came_later() -> None:
    second = node(1, rank(1, 3, at=95.0), nnodes=2, noticed=Noticed(105.0, stopped=True))
    assert verdict.judge([node(0, rank(0, at=107.0), nnodes=2, stop=stop(100.0)), second], 2)["state"] == "FAILED"


@pytest.mark.parametrize(
    "foreign", [{"state": "DONE", "complete": True}, {"state": "FAILED", "code": "x"}, {"code": 3}]
)
def test_an_exit_json_that_tells_no_end_is_written_anew(tmp_path: Path, foreign: dict[str, Any]) -> None:
    """A job that has completed does not fail because of it, and the other way round."""
    (tmp_path / "nodes").mkdir()
    for code, state in ((0, "COMPLETED"), (7, "FAILED")):
        files.write_json(records.node_path(str(tmp_path), 0), node(0, rank(0, code)).to_json())
        files.write_json(records.exit_path(str(tmp_path)), foreign)
        assert finish.main(str(tmp_path), code) == code
        told = files.read_json(records.exit_path(str(tmp_path)))
        assert told is not None and (told["state"], told["code"]) == (state, code)


def test_a_stop_file_that_no_agent_has_seen_has_ended_nothing() -> None:
    """Its time is the file server's."""
    ended = [node(number, rank(number, at=100.0), nnodes=2) for number in (0, 1)]
    assert verdict.judge(ended, 2, asked=stop(50.0))["state"] == "COMPLETED"


def test_a_stop_that_follows_a_failure_is_a_failure() -> None:
    failed = node(0, rank(0, 7, at=80.0))
    ended_by_slurm = node(1, rank(1, 0, at=95.0), stop=stop(90.0))
    found = verdict.judge([failed, ended_by_slurm], 2)
    assert (found["state"], found["code"], found["rank"]) == ("FAILED", 7, 0)


def test_a_signal_to_everybody_is_a_stop_whoever_notices_first() -> None:
    first = rank(0, 143, at=89.9, signal="SIGTERM", error="killed by SIGTERM")
    assert verdict.judge([node(0, first, stop=stop(90.0))], 1)["state"] == "CANCELLED"
    killed = rank(0, 137, at=89.9, signal="SIGKILL", error="killed by SIGKILL")
    assert verdict.judge([node(0, killed, stop=stop(90.0))], 1)["state"] == "FAILED"


def test_an_error_while_saving_is_told_with_the_stop() -> None:
    full = rank(0, 1, at=95.0, error="OSError: No space left on device", traceback="...", told_to_end=90.0)
    found = verdict.judge([node(0, full, stop=stop(90.0))], 1)
    assert (found["state"], found["code"], found["error"]) == ("CANCELLED", 143, "OSError: No space left on device")


def test_a_nodes_own_failure() -> None:
    found = verdict.judge([node(0, failure=Failure(9, "startup command failed", 60.0))], 1)
    assert (found["state"], found["code"], found["rank"]) == ("FAILED", 9, None)
    assert (found["node"], found["log"]) == ("host0", "logs/agent-0.log")


def test_a_node_that_vanished() -> None:
    closed = rank(0, 1, at=80.0, error="RuntimeError: Connection closed by peer")
    gone = node(1, state="running", time=75.0)
    found = verdict.judge([node(0, closed), gone], 2, 9)
    assert (found["state"], found["code"], found["node"], found["complete"]) == ("FAILED", 9, "host1", False)
    assert "node 1 (host1) ended without a record" in found["error"]
    own = verdict.judge([node(0, rank(0, 7, at=80.0)), gone], 2, 137)
    assert (own["code"], own["rank"]) == (7, 0), "an error that somebody has seen goes first"
    assert verdict.judge([node(0, rank(0, 0), nnodes=2)], 2)["error"] == "node 1 never started its agent"
    cancelled = verdict.judge([node(0, state="running", stop=stop(90.0))], 1, 137)
    assert (cancelled["state"], cancelled["code"]) == ("CANCELLED", 143)


# exit.json


def test_exit_is_written_once_and_completed_later(tmp_path: Path) -> None:
    ended, running = node(0, rank(0), nnodes=2), node(1, state="running", nnodes=2)
    first = finish.settle(str(tmp_path), [ended, running], 2, 137)
    assert (first["code"], first["complete"]) == (137, False)
    assert finish.settle(str(tmp_path), [running, ended], 2, 1) == first
    late = finish.settle(str(tmp_path), [ended, node(1, rank(1), nnodes=2)], 2)
    assert late["state"] == "COMPLETED"
    assert finish.settle(str(tmp_path), [ended, node(1, rank(1, 5), nnodes=2)], 2) == late
    assert json.loads((tmp_path / "exit.json").read_text()) == late
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["state"] for event in events] == ["ended"]


def test_finish_without_any_record(tmp_path: Path) -> None:
    assert finish.main(str(tmp_path), 213) == 213
    found = json.loads((tmp_path / "exit.json").read_text())
    assert (found["state"], found["error"]) == ("FAILED", "node 0 never started its agent")
    assert finish.main(str(tmp_path / "nowhere"), None) == 2


@pytest.mark.parametrize(
    ("nnodes", "node_code", "script_code", "chained", "code"),
    [
        *[(1, 0, 0, False, 0), (1, 0, 0, True, 0), (2, 0, 0, False, 0), (2, 0, 0, True, 0), (2, None, 0, True, 0)],
        *[(1, 3, 0, False, 3), (1, 3, 0, True, 3), (1, 0, 9, False, 9), (2, None, 1, False, 1), (0, None, 0, False, 1)],
    ],
)
def test_the_end_of_a_job_whose_disk_is_full(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nnodes: int,
    node_code: int | None,
    script_code: int,
    chained: bool,
    code: int,
) -> None:
    """What Slurm is told is what `status` tells of the node's record: nobody can read an exit.json. Without a code the
    agents had no room for their last record either: srun tells how they have ended.

    A chain that has completed begins no further attempt; secrets that no other one needs are gone.
    """

    def full(path: str, value: object, patience_s: float = 0) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    cancelled: list[str] = []
    monkeypatch.setattr(finish, "create_json", full)
    monkeypatch.setattr(slurm, "cancel", cancelled.extend)
    monkeypatch.setattr(finish, "_LATE_NODES_S", 0.0)
    monkeypatch.setenv("SLURM_JOB_ID", "76")
    monkeypatch.setenv("LAUNCH_ATTEMPT", "0")
    secrets = tmp_path / "secrets.env"
    secrets.touch()
    (tmp_path / "chain").write_text("76 77 0 78\n" if chained else "76 - 0\n")
    (tmp_path / "nodes").mkdir()
    for number in range(nnodes):
        ended = node(number, rank(number, node_code or 0), nnodes=nnodes, secrets_file=str(secrets))
        record = replace(ended, code=node_code, state="ended" if node_code is not None else "training")
        (tmp_path / "nodes" / f"{number}.json").write_text(json.dumps(record.to_json()))
    limits = {"jobs": 2, "failures": 2, "exclude": []} if chained else None
    order = {"job_id": "r.1", "run_dir": str(tmp_path), "backend": "none", "chain": limits, "checkpoint_dir": None}
    (tmp_path / "agent.json").write_text(json.dumps(order))
    assert finish.main(str(tmp_path), script_code) == code
    assert cancelled == (["78", "77"] if chained and code == 0 else [])
    may_come_again = code != 0 and (chained or nnodes > 1)
    assert secrets.exists() == (may_come_again or nnodes == 0)
    left = json.loads((tmp_path / "nodes" / "0.json").read_text()) if nnodes else None
    told = Answer(True, "FAILED" if code else "COMPLETED", code=code, dropped=bool(cancelled))
    now = judge(told, Own(node=left, chained=chained))
    assert now.state == told.state and ("disk is full" in str(now.reason)) == (code in (0, 9))
    (tmp_path / "resume").write_text("90\n")  # by a person, meanwhile: what waits, and the secrets, are that job's
    secrets.touch()
    cancelled.clear()
    assert finish.main(str(tmp_path), script_code) == code and not cancelled and secrets.exists()


def test_an_end_in_short_is_judged_as_the_whole_one() -> None:
    for one in (
        node(0, rank(0), code=0),
        node(0, rank(0, at=100.0), code=0, stop=stop(105.0)),
        node(0, rank(0, at=100.0), code=143, stop=stop(90.0)),
        node(0, rank(0, 3, at=80.0), code=3, stop=stop(90.0)),
        node(0, rank(0), rank(1, 7, at=90.0), code=7),
        node(0, code=5, failure=Failure(5, "startup", 50.0)),
    ):
        short, whole = (verdict.judge([each], 1) for each in (records.in_short(one), one))
        assert [short[key] for key in ("state", "code", "error")] == [whole[key] for key in ("state", "code", "error")]


def test_records_survive_the_file(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    written = node(0, rank(0, 3), stop=stop(1.0), failure=Failure(1, "x", 2.0))
    files.write_json(records.node_path(str(tmp_path), 0), written.to_json())
    files.write_json(records.node_path(str(tmp_path), 1), {**node(1).to_json(), "of_a_later_version": 1})
    files.write_json(records.node_path(str(tmp_path), 2), node(2, attempt=1).to_json())
    (tmp_path / ".failed-0").touch()
    assert [item.node for item in records.read_nodes(str(tmp_path))] == [2], "only the newest attempt counts"
    (tmp_path / "nodes" / "2.json").unlink()
    assert records.read_nodes(str(tmp_path))[0] == written


# files on a full disk


class FullDisk:
    """os.fsync that fails some times with ENOSPC, as a file system with delayed allocation does."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, _fd: int) -> None:
        if self.left:
            self.left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    monkeypatch.setattr(files, "_RETRY_EVERY_S", 0.01)
    monkeypatch.setattr(os, "fsync", FullDisk(3))
    files.write_json(str(path), {"a": 1}, patience_s=5)
    monkeypatch.setattr(os, "fsync", FullDisk(10**6))
    with pytest.raises(OSError, match="No space"):
        files.write_json(str(path), {"a": 2}, patience_s=0.05)
    assert files.read_json(str(path)) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_a_line_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    files.append_json(str(path), [{"a": 1}])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    with pytest.raises(OSError, match="complete line"):
        files.append_json(str(path), [{"a": 2}])
    assert path.read_text() == '{"a": 1}\n'


@pytest.mark.parametrize("locks", [True, False])
def test_a_full_disk_takes_no_other_writers_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool) -> None:
    """Of a spare's keeper and the agent, say: one has got half a line in when the other writes."""
    path, write, others = tmp_path / "history.jsonl", os.write, []
    path.write_text('{"a": 1}\n')
    waits = threading.Event()  # for its turn, or has written

    def other() -> None:
        files.append_json(str(path), [{"other": 1}])
        waits.set()

    def half(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        written = write(fd, data[:3])
        others.append(threading.Thread(target=other))
        others[0].start()
        assert waits.wait(LIMIT_S)
        return written

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(time, "sleep", lambda _: waits.set())
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="complete line"):
        files.append_json(str(path), [{"a": 2}])
    others[0].join()
    files.append_json(str(path), [{"a": 3}])
    assert files.read_lines(str(path)) == [{"a": 1}, {"other": 1}, {"a": 3}]


@pytest.mark.parametrize("torn", ['{"event": "ended", "time": 17957', "\x00\x00", '{"a": "\xfc', "x"])
def test_a_torn_line_takes_no_other_with_it(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "history.jsonl"
    for before in ("", '{"a": 0}\n'):
        path.write_bytes((before + torn).encode("latin-1"))
        files.append_json(str(path), [{"a": 1}, {"a": 2}])
        files.append_json(str(path), [{"a": 3}])
        wanted = [{"a": number} for number in range(0 if before else 1, 4)]
        assert files.read_lines(str(path)) == list(files.each_line(str(path))) == wanted
        assert path.read_bytes().count(b"\n\n") == 0


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x1c", "\x0b", "\r", "\r\n", "\n"])
def test_what_an_error_says_does_not_split_its_line(tmp_path: Path, mark: str) -> None:
    path, told = tmp_path / "history.jsonl", {"error": f"a{mark}b"}
    files.append_json(str(path), [told])
    assert files.read_lines(str(path)) == list(files.each_line(str(path))) == [told]


# metrics


def test_a_step_line_in_all_its_forms() -> None:
    line = "step 7 | epoch 1 | loss -0.5 | grad_norm inf | lr 1.00e-05 | mem 3.10 GiB | tps 1e3(5e2/gpu) | kd_loss 2.5"
    found = AUTOMODEL.parse_metrics(f" 50%|##   | 1/2 2026 | INFO | root | {line}", 5.0)
    assert found == {
        "time": 5.0,
        "step": 7,
        "epoch": 1,
        "loss": -0.5,
        "grad_norm": None,
        "nonfinite": True,
        "lr": 1e-5,
        "mem_gib": 3.1,
        "tps": 1000.0,
        "tps_per_gpu": 500.0,
        "kd_loss": 2.5,
    }


@pytest.mark.parametrize(
    ("line", "name", "loss"),
    [
        ('[val] name "books" | step 3 | epoch 0 | loss 2.5 | lr 1e-4 | num_label_tokens 9', "books", 2.5),
        ("[val] step 3 | epoch 0 | loss nan | lr 1e-4", "default", None),
        ('[val] name "default" | step 3 | epoch 0 | loss 0.0000 | lr 1e-4 | num_label_tokens 0', "default", None),
        ("[val] wiki | step 3 | epoch 0 | loss 2.5 | kd_loss 1.0 | lr 1e-4", "wiki", 2.5),
    ],
)
def test_a_validation_line(line: str, name: str, loss: float | None) -> None:
    found = AUTOMODEL.parse_metrics("x | INFO | root | " + line, 5.0)
    assert found is not None
    assert (found["step"], found["name"], found["val_loss"], "loss" in found) == (3, name, loss, False)


@pytest.mark.parametrize("line", ["", "step 5", "saved step 5 | epoch 0 | done", "first step | epoch 1 | loss 3"])
def test_other_lines_are_not_metrics(line: str) -> None:
    assert AUTOMODEL.parse_metrics(line, 0.0) is None


def test_the_follower_keeps_what_a_full_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, target = tmp_path / "rank-0.log", tmp_path / "metrics.jsonl"
    log.write_text("step 0 | epoch 0 | loss 9.0\n")
    follower = metrics.Follower(AUTOMODEL, str(log), str(target))
    with log.open("a") as file:
        file.write("step 1 | epoch 0 | loss 8.0\nstep 2 | ep")
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda _fd, _data: 0)
        follower.poll()
    assert (follower.step, target.read_text()) == (1, "")
    with log.open("a") as file:
        file.write("och 0 | loss 7.0")
    follower.drain()
    assert [json.loads(line)["step"] for line in target.read_text().splitlines()] == [1, 2]


def test_the_follower_reads_a_log_that_was_emptied_from_its_beginning(tmp_path: Path) -> None:
    log, target = tmp_path / "rank-0.log", tmp_path / "metrics.jsonl"
    log.touch()
    follower = metrics.Follower(AUTOMODEL, str(log), str(target))
    with log.open("a") as rank:  # holds it open, as a rank does
        print("noise\n" * 1000 + "step 1 | epoch 0 | loss 8.0", file=rank, flush=True)
        follower.poll()
        os.truncate(log, 0)
        print("step 2 | epoch 0 | loss 7.0", file=rank, flush=True)
        follower.poll()
    assert [json.loads(line)["step"] for line in target.read_text().splitlines()] == [1, 2]


# which node, which head


@pytest.mark.parametrize(
    ("short", "hosts"),
    [
        ("n1", ["n1"]),
        ("gpu[01-03,7],login", ["gpu01", "gpu02", "gpu03", "gpu7", "login"]),
        ("a[1-2]b[1,3]", ["a1b1", "a1b3", "a2b1", "a2b3"]),
        ("dgx-[098-101].local", ["dgx-098.local", "dgx-099.local", "dgx-100.local", "dgx-101.local"]),
    ],
)
def test_slurms_short_form_of_host_names(short: str, hosts: list[str]) -> None:
    assert nodes.expand(short) == hosts


def test_the_nodes_rank() -> None:
    assert nodes.node_rank(1, {"SLURM_NODEID": "3"}) == 0
    assert nodes.node_rank(4, {"SLURM_NODEID": "3"}) == 3
    assert nodes.node_rank(4, {"SLURM_NODEID": "3", "LAUNCH_NODE_RANK": "1"}) == 1
    for environ in ({}, {"SLURM_NODEID": "4"}, {"LAUNCH_NODE_RANK": "-1"}):
        with pytest.raises(spec.SpecError):
            nodes.node_rank(4, environ)


def test_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {("show", "hostnames", "n[3-4]"): "n3\nn4\n", ("show", "node", "n3"): "NodeName=n3\n NodeAddr=10.0.0.3 X=1"}
    monkeypatch.setattr(nodes, "_resolves", lambda name: name == "localhost")
    monkeypatch.setattr(nodes, "_scontrol", lambda *args: said.get(args))
    assert nodes.head_host({"LAUNCH_HEAD_HOST": "h", "SLURM_JOB_NODELIST": "n[3-4]"}) == "h"
    assert nodes.head_host({"SLURM_JOB_NODELIST": "n[3-4]"}) == "10.0.0.3"
    assert nodes.head_host({"SLURM_JOB_NODELIST": "m[1-2]"}) == "m1"
    with pytest.raises(spec.SpecError, match="LAUNCH_HEAD_HOST"):
        nodes.head_host({})


# the command and its environment


def good_spec() -> dict[str, Any]:
    return {
        "schema": 1,
        "job_id": "run-1",
        "run_name": "run",
        "job_dir": "/jobs/run-1",
        "run_dir": "/runs/run",
        "code_dir": "/jobs/run-1/code",
        "python": "python3",
        "launch": "torchrun",
        "script": "recipes/pretrain.py",
        "args": ["--config", "a b"],
        "nnodes": 2,
        "nproc_per_node": 8,
        "rendezvous": {"id": "run-1", "port": 29999},
        "env": {},
        "setup_lines": [],
        "startup_commands": [],
        "secrets_file": None,
        "stop_grace_s": 120.0,
        "heartbeat_s": 10,
        "stop_with_parent": False,
        "stall_s": None,
    }


def load(tmp_path: Path, **changes: Any) -> spec.Spec:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(good_spec() | changes))
    return spec.load(str(path))


def test_torchruns_command_line(tmp_path: Path) -> None:
    two = command.training_command(load(tmp_path), "/bin/python3", "/code/node_agent.py", "/tmp/x", 1, "head")
    assert two[:3] == ["/bin/python3", "-m", "torch.distributed.run"]
    text = " ".join(two)
    assert "--rdzv-backend static --node-rank 1 --master-addr head --master-port 29999" in text
    assert two[-5:] == ["/code/node_agent.py", "worker", "/jobs/run-1/code/recipes/pretrain.py", "--config", "a b"]
    one = load(tmp_path, nnodes=1, rendezvous={"id": "x", "port": None})
    text = " ".join(command.training_command(one, "p", "a", "/tmp/x", 0, None))
    assert "--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0 --local-addr 127.0.0.1" in text


def test_threads_only_for_training_on_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "cpus", lambda: 20)
    no_gpu = {b"CUDA_VISIBLE_DEVICES": b""}
    assert command.omp_threads(load(tmp_path), no_gpu) == 2
    assert command.omp_threads(load(tmp_path, nproc_per_node=32), no_gpu) == 1
    assert command.omp_threads(load(tmp_path), {**no_gpu, b"OMP_NUM_THREADS": b"4"}) is None
    assert command.omp_threads(load(tmp_path, nproc_per_node=1), no_gpu) is None
    monkeypatch.setattr(command, "gpus_visible", lambda _environ: True)
    assert command.omp_threads(load(tmp_path), {}) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"nodes": 2}, "unknown key 'nodes'"),
        ({"nnodes": 0}, "nnodes: expected an integer of at least 1"),
        ({"nnodes": True}, "nnodes: expected"),
        ({"job_dir": "jobs"}, "job_dir: expected an absolute path"),
        ({"env": {"A": 1}}, "env: expected"),
        ({"env": {"A": "x\0y"}}, "env: expected"),
        ({"launch": "srun"}, 'launch: expected "torchrun", "ft" or "python"'),
        ({"rendezvous": {"id": "x", "port": None}}, "rendezvous.port: needed with more than one node"),
        ({"schema": 2}, "schema: expected 1"),
        ({"chain": {"jobs": 2, "failures": 3}}, "chain: expected"),
        ({"chain": {"jobs": 2, "failures": 3, "exclude": [], "max_gpu_hours": 5.0}}, "chain: expected"),
        ({"chain": {"jobs": 2, "failures": 3, "exclude": [], "max_gpu_hours": 0, "gpus": 4}}, "chain: expected"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(spec.SpecError) as refused:
        load(tmp_path, **changes)
    assert fault in str(refused.value)


def test_a_spec_that_is_no_json_or_lacks_a_key(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"schema": 1')
    with pytest.raises(spec.SpecError, match=r"spec\.json"):
        spec.load(str(tmp_path / "spec.json"))
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(spec.SpecError, match="missing key 'args'"):
        spec.load(str(tmp_path / "spec.json"))


# signals


def test_one_ctrl_c_that_arrives_twice_is_one_however_slow_the_file_system_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No signal is heard while the first one is written down; the second is none of a second later because of that."""
    agent, now = Agent(tmp_path, 0, 1), [100.0]
    monkeypatch.setattr(control, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    monkeypatch.setattr(agent.journal, "save", lambda *_, **__: now.__setitem__(0, now[0] + 3))
    for came_at, killed in ((100.0, False), (103.2, False), (104.1, True)):
        monkeypatch.setattr(agent.control.loop, "wait", lambda at=came_at: [(signal.SIGTERM, at)])
        agent.control.tick()
        assert (agent.control.stop is not None, agent.control.force) == (True, killed)


# small things


def test_one_line_for_any_exception() -> None:
    assert error_line(ValueError("first\nsecond")) == "ValueError: first"
    assert error_line(RuntimeError("\nthe message")) == "RuntimeError: the message"
    assert error_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    with pytest.raises(SyntaxError) as broken:
        compile("a = = 1", "script.py", "exec")
    assert error_line(broken.value) == "SyntaxError: invalid syntax"


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n" + b"bar 1\rbar 2\r\n\x1b[31mred\x1b[0m\n[node agent 0 now] ours\n \n")
    assert tail(str(log), 7) == ["bar 1", "bar 2", "red"]
    assert tail(str(tmp_path / "none")) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    start = procs.start_of(os.getpid())
    assert start is not None
    assert procs.alive(os.getpid(), start)
    assert not procs.alive(os.getpid(), start + 1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    deadline = time.monotonic() + LIMIT_S
    while procs.alive(child, None) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not procs.alive(child, None), "a zombie is gone"
    os.waitpid(child, 0)


HALF_GONE = """
import ctypes, subprocess, sys, threading, time
child = subprocess.Popen(["sleep", "60"])
threading.Thread(target=time.sleep, args=(60,)).start()
print(child.pid, flush=True)
ctypes.CDLL(None).syscall(60, 0)  # the main thread alone ends
"""


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="needs the system call of x86_64")
def test_what_a_process_has_started_that_is_half_gone() -> None:
    """As after SIGKILL, while one of its threads is still on its way out: it is a zombie with children."""
    half = subprocess.Popen([sys.executable, "-c", HALF_GONE], stdout=subprocess.PIPE, text=True)
    assert half.stdout is not None
    child = int(half.stdout.readline())
    try:
        deadline = time.monotonic() + LIMIT_S
        while (found := procs.stat(half.pid)) is None or found.state != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        below = procs.descendants(os.getpid())
        assert child in below
        assert half.pid not in below
    finally:
        half.kill()
        half.wait()
        os.kill(child, signal.SIGKILL)
