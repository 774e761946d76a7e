"""What a thousand agents ask of a file system: counted, with a clock of our own."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recipes.agent_count import Agent, Counted, counted  # isort: skip  (puts recipes/ on the path)
from node_agent_lib import finish

MANY = 1024


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    with counted(monkeypatch) as counter:
        yield counter


@pytest.mark.parametrize("nnodes", [8, 128, MANY])
def test_an_hour_of_nothing_new_costs_little(nnodes: int, tmp_path: Path, operations: Counter[str]) -> None:
    agent = Agent(tmp_path, node=5, nnodes=nnodes)
    agent.pass_time(60)
    operations.clear()
    agent.pass_time(3600)
    del operations["read nodes"]  # an open as well
    assert sum(operations.values()) <= 0.5 * 3600, operations
    assert operations["fsync"] == 0


@pytest.mark.parametrize("nnodes", [1, 8, 128, MANY])
@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("job/stop", "stop"),
        ("run/stop", "stop"),
        ("job/.failed-0", "failed"),
        ("job/.hung-0", "hung"),
        ("job/chain", "superseded"),
    ],
)
def test_what_others_leave_is_seen_soon(nnodes: int, told: str, seen: str, tmp_path: Path) -> None:
    agent = Agent(tmp_path, node=0 if nnodes == 1 else 5, nnodes=nnodes)
    agent.pass_time(100)
    assert agent.seen() == set()
    (tmp_path / told).write_text("12 - 1\n")
    agent.pass_time(10)
    nobody_to_tell = nnodes == 1 and seen in ("failed", "hung")
    assert agent.seen() == (set() if nobody_to_tell else {seen})


def test_a_second_change_within_one_tick_of_the_file_system_is_seen(tmp_path: Path) -> None:
    agent = Agent(tmp_path, node=1, nnodes=2)
    agent.pass_time(10)
    (tmp_path / "job" / "other").touch()
    then = (tmp_path / "job").stat().st_mtime_ns
    agent.pass_time(2)
    (tmp_path / "job" / "stop").touch()
    os.utime(tmp_path / "job", ns=(then, then))
    agent.pass_time(3)
    assert agent.seen() == {"stop"}


def test_a_file_system_that_keeps_no_time_of_a_directory(tmp_path: Path) -> None:
    agent = Agent(tmp_path, node=1, nnodes=2)
    agent.pass_time(30)
    then = (tmp_path / "job").stat().st_mtime_ns
    (tmp_path / "job" / "stop").touch()
    os.utime(tmp_path / "job", ns=(then, then))
    agent.pass_time(120)
    assert agent.seen() == {"stop"}


def test_a_heartbeat_is_the_time_of_the_file(tmp_path: Path) -> None:
    agent = Agent(tmp_path, node=1, nnodes=2)
    agent.journal.save()
    path = tmp_path / "job" / "nodes" / "1.json"
    before = path.read_text()
    os.utime(path, (1.0, 1.0))
    agent.journal.beat()
    assert path.read_text() == before
    assert agent.read()[0].time >= json.loads(before)["time"]
    os.utime(path, (1.0, time.time() + 500))
    assert agent.read()[0].time == path.stat().st_mtime
    agent.journal.record.active = 7.0
    agent.journal.beat()
    assert json.loads(path.read_text())["active"] == 7.0, "what is new is written down"
    path.unlink()
    agent.journal.beat()
    assert path.exists(), "a record that somebody has removed comes back"
    agent.journal.record.state = "ended"
    agent.journal.save()
    os.utime(path, (1.0, time.time() + 500))
    assert agent.read()[0].time == json.loads(path.read_text())["time"], "an end is when it was written"


def test_node_0_writes_its_heartbeat_where_a_shell_reads_it(tmp_path: Path) -> None:
    agent = Agent(tmp_path, node=0, nnodes=2)
    agent.journal.save()
    path = tmp_path / "job" / "nodes" / "0.json"
    before = json.loads(path.read_text())
    agent.journal.beat()
    after = json.loads(path.read_text())
    assert after.pop("time") > before.pop("time")
    assert after == before


def test_the_end_of_a_job_reads_each_record_once(tmp_path: Path, operations: Counter[str]) -> None:
    nnodes = 96
    agents = [Agent(tmp_path, node, nnodes) for node in range(nnodes)]
    for agent in agents:
        agent.journal.save()
    operations.clear()
    codes = [agent.end(0) for agent in agents]
    assert codes == [0] * nnodes
    assert Counted.reads_of_nodes(operations) == nnodes, "the last one reads them, and nobody else"
    found = json.loads((tmp_path / "job" / "exit.json").read_text())
    assert (found["state"], found["complete"], len(found["nodes"])) == ("COMPLETED", True, nnodes)


def test_finish_reads_those_that_have_ended_once(
    tmp_path: Path, operations: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "_LATE_NODES_S", 2.2)
    nnodes = 16
    agents = [Agent(tmp_path, node, nnodes) for node in range(nnodes)]
    for agent in agents:
        agent.journal.save()
    for agent in agents[1:]:
        agent.end(0)
    operations.clear()
    assert finish.main(str(tmp_path / "job"), 9) == 9
    assert Counted.reads_of_nodes(operations) <= nnodes + 6, "only the one that is late is read again"


def test_a_hang_waits_for_the_others_without_their_records(tmp_path: Path, operations: Counter[str]) -> None:
    agents = [Agent(tmp_path, node, 3) for node in range(3)]
    assert not agents[0].control.peers.others_have_ended()
    for agent in agents[1:]:
        agent.end(1)
    operations.clear()
    assert agents[0].control.peers.others_have_ended()
    assert Counted.reads_of_nodes(operations) == 0
