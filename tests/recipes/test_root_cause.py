"""What began the end of an attempt, told from all nodes' records, logs and kernels."""

from __future__ import annotations

import builtins
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.agent_records import node
from tests.recipes.recorded_errors import LOGGED, RECORDED

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import (
    bad_nodes,
    decision,
    evidence,
    finish,
    history,
    kernel_log,
    known,
    log,
    lost_logs,
    oom_kills,
    verdict,
)
from node_agent_lib.decision import Limits
from node_agent_lib.history import Ended
from node_agent_lib.records import NodeRecord, RankRecord

ECC = RECORDED["gpu-ecc"][0]
NCCL = RECORDED["nccl-timeout"][0]
PEER = RECORDED["nccl-remote"][0]


def rank(number: int, error: str, at: float, **changes: Any) -> RankRecord:
    """A rank that failed at that second with that error."""
    record = RankRecord(number, 0, "h", 1000 + number, 1, 1, 1, 50.0, ended=at, code=1, error=error, failed=at)
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def judged(*nodes: NodeRecord) -> dict[str, Any]:
    """What exit.json says of them."""
    return verdict.judge(list(nodes), len(nodes))


def test_a_known_root_wins_whatever_the_clocks_say() -> None:
    """Its node's clock is 100 s late, so that all others seem to have failed long before."""
    others = [node(number, rank(number, NCCL, at=80.0)) for number in range(1, 5)]
    found = judged(node(0, rank(0, RECORDED["disk-full"][0], at=180.0)), *others)
    assert (found["rank"], found["node"], found["known"]["id"]) == (0, "host0", "disk-full")


def test_a_machine_that_has_failed_wins_over_what_others_made_of_it() -> None:
    crash = rank(1, "RuntimeError: something of a library", at=80.0)
    victim = rank(0, ECC, at=95.0, told_to_end=90.0)
    found = judged(node(0, victim), node(1, crash))
    assert (found["rank"], found["known"]["id"], found["known"]["blames_node"]) == (0, "gpu-ecc", True)


def test_the_loudest_is_not_the_root() -> None:
    crowd = [node(number, *(rank(8 * number + i, PEER, at=80.0) for i in range(8))) for number in range(1, 9)]
    found = judged(node(0, rank(3, "ValueError: no such key", at=80.5)), *crowd)
    assert (found["rank"], found["error"], found["known"]) == (3, "ValueError: no such key", None)


def test_what_may_follow_gives_way_to_what_cannot() -> None:
    crash = rank(0, "killed by SIGSEGV", at=80.0, signal="SIGSEGV", code=139)
    full = rank(9, RECORDED["disk-quota"][0], at=81.0)
    assert judged(node(0, crash), node(1, full))["known"]["id"] == "disk-quota"
    plain = rank(1, "RuntimeError: what a library says when another process is gone", at=82.0)
    assert judged(node(0, crash, plain))["rank"] == 0  # one host has one clock
    assert judged(node(0, crash), node(1, plain))["rank"] == 1


def test_a_node_that_vanished_explains_the_adapter_that_waits_for_it() -> None:
    waits = rank(0, LOGGED["nccl-ib-completion"][0], at=80.0)
    gone = node(1, state="running", time=79.0)
    found = judged(node(0, waits), gone)
    assert (found["node"], found["known"]["id"]) == ("host1", "slurm-node-failure")
    assert judged(node(0, waits))["known"]["id"] == "nccl-ib-completion"


def test_the_line_that_tells_stands_in_exit_json() -> None:
    line = LOGGED["gpu-ecc"][0]
    told = rank(5, PEER, at=80.0, known="gpu-ecc", evidence=line)
    found = judged(node(0, rank(0, PEER, at=79.0)), node(1, told))
    assert (found["rank"], found["error"]) == (5, line)
    assert set(found["known"]) == {"id", "role", "cause", "todo", "restart", "blames_node"}


def test_records_of_a_later_version_name_errors_that_this_one_does_not_know() -> None:
    found = judged(node(0, rank(0, "ValueError: x", at=80.0, known="of-tomorrow")))
    assert (found["error"], found["known"]) == ("ValueError: x", None)


# the kernel's word


def kernel(path: Path, *lines: str, at: float | None = None) -> str:
    """A file in the form of /dev/kmsg."""
    stamp = int((time.monotonic() if at is None else at) * 1e6)
    path.write_text("".join(f"3,{number},{stamp},-;{line}\n" for number, line in enumerate(lines)))
    return str(path)


def test_the_kernel_says_who_was_killed_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = kernel_log.Own(frozenset({1001}), "/slurm/job_42/step_0", all_gpus=False)
    monkeypatch.setattr(kernel_log, "_own", lambda _: own)
    killed, other = LOGGED["host-oom-cgroup"][0].partition(";")[2], "Memory cgroup out of memory: Killed process 99 (x)"
    record = node(0, rank(0, PEER, at=79.0), rank(1, "killed by SIGKILL", at=80.0), started=time.time())
    kernel_log.add(record, kernel(tmp_path / "a", other, "usb 1-1: new device"))
    assert record.records[1].known is None  # another job's process
    kernel_log.add(record, kernel(tmp_path / "b", killed.replace("4711", "1001"), at=time.monotonic() - 9999))
    assert record.records[1].known is None  # of another time
    kernel_log.add(record, kernel(tmp_path / "c", killed.replace("4711", "1001")))
    assert [record.known for record in record.records] == [None, "host-oom-cgroup"]
    assert judged(record)["rank"] == 1


def test_a_worker_of_ours_is_known_by_its_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order, killed = LOGGED["host-oom-cgroup"][1].partition(";")[2], LOGGED["host-oom-cgroup"][0].partition(";")[2]
    for cgroup, expected in (
        ("/slurm/job_42", "host-oom-cgroup"),
        ("/slurm/job_4", "worker-killed"),
        (None, "worker-killed"),
    ):
        monkeypatch.setattr(kernel_log, "_own", lambda _, name=cgroup: kernel_log.Own(frozenset(), name, False))
        lost = rank(0, RECORDED["worker-killed"][0], at=80.0, known="worker-killed")
        record = node(0, lost, started=time.time())
        kernel_log.add(record, kernel(tmp_path / "kmsg", order, killed))
        assert record.records[0].known == expected


def test_the_cgroup_counts_what_the_kernel_kills_for_memory(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    own.write_text("12:cpu:/x\n4:memory:/slurm/a:b\n0::/unified\n")
    assert oom_kills.count(str(root), str(own)) is None  # nothing to be read: nothing is known
    for path, content in (
        ("memory/slurm/a:b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        ("unified/memory.events", "low 0\nmax 9\noom 8\noom_kill 4\noom_group_kill 1\n"),
    ):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(content)
    assert oom_kills.count(str(root), str(own)) == 4
    (root / "unified" / "memory.events").write_text("oom 8\n")  # a Linux that does not count them there
    assert oom_kills.count(str(root), str(own)) == 3
    assert oom_kills.count(str(root), str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, 0, "killed"),
        (1, None, "killed"),
        (0, 0, "killed-by-others"),
        (2, 3, "oom-kill"),
    ],
)
def test_a_killed_rank_is_out_of_memory_only_by_a_sign(before: int | None, now: int | None, expected: str) -> None:
    killed: dict[str, Any] = {"signal": "SIGKILL", "code": 137, "known": "killed"}
    mine = rank(1, "killed by SIGKILL", at=80.0, **killed)
    unwatched = rank(2, "killed by SIGKILL", at=81.0, **{**killed, "known": None})
    worker = rank(3, RECORDED["worker-killed"][0], at=82.0, known="worker-killed")
    told = rank(4, "killed by SIGKILL", at=83.0, **killed, told_to_end=82.0)
    own_error = rank(5, ECC, at=84.0, known="gpu-ecc")
    record = node(0, mine, unwatched, worker, told, own_error, oom_kills=before)
    oom_kills.add(record, now)
    worker_is = expected if expected == "oom-kill" else "worker-killed"
    expected_of_all = [expected, None if expected == "killed" else expected, worker_is, "killed", "gpu-ecc"]
    assert [each.known for each in record.records] == expected_of_all
    found = judged(node(0, mine))
    assert found["known"]["id"] == expected
    # where Slurm has not said so itself, these words tell the launcher (executors/slurm/state.py)
    assert ("oom_kill" in found["error"]) == (expected == "oom-kill")


def test_a_gpu_that_the_kernel_has_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = LOGGED["xid-79"][0].partition("] ")[2]
    for all_gpus in (False, True):
        monkeypatch.setattr(kernel_log, "_own", lambda _, every=all_gpus: kernel_log.Own(frozenset(), None, every))
        record = node(0, rank(0, NCCL, at=80.0, told_to_end=70.0), started=time.time())
        kernel_log.add(record, kernel(tmp_path / "kmsg", line))
        found = judged(record, node(1, rank(1, "RuntimeError: of a library", at=60.0)))
        assert found["rank"] == (0 if all_gpus else 1)  # whose GPUs are whose is not known on a shared node
    assert found["known"]["id"] == "xid-79"
    kernel_log.add(node(0, rank(0, NCCL, at=80.0)), str(tmp_path / "none"))  # not readable: nothing is said


# logs of nodes that are gone


def never(line: str) -> bool:
    """No line is a step."""
    return False


def test_thousands_of_logs_with_one_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is opened once, and so much of it is read as its end has; former attempts' errors are left aside."""
    nodes, each, root = 1024, 8, 5000
    (tmp_path / "logs").mkdir()
    cascade = "\n".join([*LOGGED["nccl-timeout"], *LOGGED["nccl-heartbeat"], *LOGGED["nccl-remote"]]) + "\n"
    former = f"{ECC}\n"
    for number in range(nodes * each):
        text = former + cascade + (LOGGED["gpu-memory"][0] + "\n" + cascade if number == root else "")
        (tmp_path / "logs" / f"rank-{number}.log").write_text(text)
    starts = [{str(number): len(former) for number in range(each * k, each * k + each)} for k in range(nodes)]
    gone = [node(k, nnodes=nodes, state="running", log_starts=starts[k]) for k in range(nodes)]
    opened: list[str] = []
    read: list[int] = []

    def counted(path: str, *args: Any) -> Any:
        opened.append(path)
        read.append(Path(path).stat().st_size)
        return builtins.open(path, *args)

    monkeypatch.setattr(log, "open", counted, raising=False)
    lost_logs.add(str(tmp_path), gone, "", never)
    found = verdict.judge(gone, nodes)
    assert (found["rank"], found["node"], found["known"]["id"]) == (root, f"host{root // each}", "gpu-memory")
    assert len(opened) == len(set(opened)) == nodes * each
    assert max(read) <= log._TAIL_BYTES


def test_slurm_says_that_memory_was_used_up(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log-me.x_42_0.out").write_text(
        "\n".join((*LOGGED["slurm-cancelled"], LOGGED["slurm-oom"][0]))
    )
    (tmp_path / "logs" / "log-me.x_41_0.out").write_text(LOGGED["slurm-oom"][2])
    lost = node(0, state="running", log_starts={"0": 0})
    lost_logs.add(str(tmp_path), [lost], "42", never)
    assert judged(lost)["known"]["id"] == "slurm-oom"
    quiet = node(0, state="running")
    lost_logs.add(str(tmp_path), [quiet], "43", never)
    assert judged(quiet)["known"]["id"] == "slurm-node-failure"


# what becomes of the job


def ended(known_id: str | None, **changes: Any) -> Ended:
    """An attempt that failed before its first step."""
    return Ended(**{"attempt": 0, "state": "FAILED", "code": 1, "error": "E", "known": known_id, **changes})


def goes_on(*ends: Ended) -> bool:
    """Whether a chain of ten goes on."""
    return decision.decide(list(ends), Limits(10, 5), False, None).goes_on


def test_only_what_is_certain_ends_a_chain() -> None:
    certain = {s.id for _, group in known.GROUPS for s in group if s.restart == known.CANNOT}
    assert certain == {
        *("hub-gated", "hub-not-found", "hub-unauthorized", "hub-forbidden", "world-size", "batch-size"),
        *("weights-shape", "weights-keys", "seed", "data-changed"),
    }
    for name in certain:
        told = decision.decide([ended(name)], Limits(10, 5), False, None)
        assert not told.goes_on
        assert "no further attempt can help" in told.why
        assert goes_on(ended(name, from_step=3, to_step=9))  # it has worked: what is wrong now may be right again
        assert goes_on(ended(None, error="x", from_step=0, to_step=9), ended(name, attempt=1))
    for other in (
        "gpu-memory",
        "disk-full",
        "nccl-timeout",
        "no-file",
        "permission",
        "gpu-no-kernel",
        "of-tomorrow",
        None,
    ):
        assert goes_on(ended(other))


def test_the_node_of_a_machines_error_is_kept_from_further_attempts(tmp_path: Path) -> None:
    """By the kernel's line, which is no exception's text; not the node of one that was only the first to complain."""
    job_dir, run_dir = tmp_path / "jobs" / "run.1", tmp_path / "run"
    (job_dir / "nodes").mkdir(parents=True)
    run_dir.mkdir()
    order = {"job_id": "run.1", "run_dir": str(run_dir), "backend": "none", "chain": None, "checkpoint_dir": None}
    (job_dir / "agent.json").write_text(json.dumps(order))
    (job_dir / "chain").write_text("42 - 0\n")
    told = rank(3, NCCL, at=80.0, known="xid-79", evidence=LOGGED["xid-79"][0])
    for record in (node(0, rank(0, PEER, at=70.0), nnodes=2), node(1, told, nnodes=2)):
        (job_dir / "nodes" / f"{record.node}.json").write_text(json.dumps(record.to_json()))
    assert finish.main(str(job_dir), 1) == 1
    exit_json = json.loads((job_dir / "exit.json").read_text())
    assert (exit_json["node"], exit_json["known"]["id"]) == ("host1", "xid-79")


def test_history_keeps_the_id(tmp_path: Path) -> None:
    history.add(
        str(tmp_path), "ended", "run.1", 0, **{k: v for k, v in vars(ended("hub-gated")).items() if k != "attempt"}
    )
    history.add(str(tmp_path), "ended", "run.1", 1, state="FAILED", code=1, known=7)
    assert [end.known for end in history.ends(history.read(str(tmp_path)), "run.1")] == ["hub-gated", None]
    assert bad_nodes.accused(ECC)
    assert evidence.of_rank(ECC, None, [], never) is not None
