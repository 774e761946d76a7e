"""Spare nodes: who is lost, whether a spare takes its rank, and what is written down then."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import bad_nodes, chain, deciding, decision, files, history, replacing, seats
from node_agent_lib.files import write_json
from node_agent_lib.history import Ended
from node_agent_lib.records import NodeRecord, RankRecord
from node_agent_lib.replacing import Replacement, Why
from node_agent_lib.seats import Report, Seats
from node_agent_lib.silence import LEAST_S, Silence

from tests.recipes.chain_site import LIMITS, Site

NOW = Seats(0, ("c1", "c2"), ("c3",))
SILENT: Why = {"c2": "it gives no sign of life"}
XID = "CUDA error: uncorrectable ECC error encountered"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(path: Path, clock: Clock, down: list[str], seconds: int, beats: bool = False) -> tuple[Silence, list[str]]:
    """A second's looks at one file; whether its host is lost then."""
    silence = Silence(2, clock, lambda hosts: [host for host in hosts if host in down])
    silence.look("c2", str(path))
    for number in range(seconds):
        clock.now += 1.0
        if beats:
            os.utime(path, (number, number))
        silence.look("c2", str(path))
    return silence, silence.lost(["c2"])


@pytest.mark.parametrize(
    ("down", "seconds", "beats", "lost"),
    [
        ([], int(LEAST_S) - 1, False, []),
        ([], int(LEAST_S), False, ["c2"]),
        (["c2"], 5, False, []),
        (["c2"], 6, False, ["c2"]),
        (["c2"], 100, True, []),  # drained, say: it lives
        (["c1"], 20, False, []),
    ],
)
def test_a_silent_node(tmp_path: Path, down: list[str], seconds: int, beats: bool, lost: list[str]) -> None:
    path = tmp_path / "c2"
    path.touch()
    assert watched(path, Clock(), down, seconds, beats)[1] == lost


def test_what_was_never_there_and_the_watchers_own_pause_are_no_silence(tmp_path: Path) -> None:
    clock = Clock()
    silence, lost = watched(tmp_path / "absent", clock, ["c2"], 1000)
    assert (silence.has_been_there("c2"), lost) == (False, [])
    (tmp_path / "there").touch()
    silence.look("c1", str(tmp_path / "there"))
    clock.now += 1000  # suspended, or its file system hung
    assert silence.look("c1", str(tmp_path / "there")) < LEAST_S
    assert silence.lost(["c1"]) == []


def test_the_lost_ranks_go_to_spares_and_all_others_stay() -> None:
    following = Seats(3, ("a", "b", "c"), ("d", "e", "f")).without(["a", "c"], ["e", "f"])
    assert following == Seats(4, ("e", "b", "f"), ("d",), ("a", "c"))
    assert (following.rank("b"), following.rank("a"), following.rank("d")) == (1, None, None)


def test_seats_are_agreed_on_once(tmp_path: Path) -> None:
    one, other = NOW.without(["c2"], ["c3"]), NOW.without(["c1"], ["c3"])
    assert seats.put(str(tmp_path), one)
    assert not seats.put(str(tmp_path), other)
    assert seats.latest(str(tmp_path), NOW) == one


def test_a_keepers_word_is_of_its_own_slurm_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / seats.KEEPERS).mkdir()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    seats.report(str(tmp_path), "c1", Report(2, 137, gone=True))
    assert seats.read_report(str(tmp_path), "c1") == Report(2, 137, gone=True)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert seats.read_report(str(tmp_path), "c1") is None


# Whether a spare is spent


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A job of two nodes and a spare in its first attempt; Slurm knows nothing of a lost node yet."""
    made = Site(tmp_path, LIMITS)
    spec = json.loads((made.job / "agent.json").read_text())
    (made.job / "agent.json").write_text(json.dumps({**spec, "spares": 1, "backend": "automodel"}))
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "70")
    (made.job / "nodes").mkdir()
    assert made.call("begin", "70", SLURM_JOB_NODELIST="c[1-3]").returncode == 0
    return made


def node(place: Site, number: int, **changes: Any) -> None:
    now = time.time()
    record = NodeRecord("a.1", number, 2, 0, f"c{number + 1}", 1, None, now, state="running", time=now)
    for key, value in changes.items():
        setattr(record, key, value)
    write_json(str(place.job / "nodes" / f"{number}.json"), record.to_json())


def rank(number: int, error: str, told: bool = False) -> RankRecord:
    now = time.time()
    record = RankRecord(number, 0, f"c{number + 1}", 1, None, 1, None, now - 9, ended=now, code=1, error=error)
    record.failed, record.told_to_end = now, now - 1 if told else None
    return record


def replacement(place: Site, lost: Why | None = None) -> Replacement:
    orders = chain.order(str(place.job))
    assert orders is not None
    return Replacement(orders, NOW, 2, lost or {})


def test_a_lost_node_is_replaced_and_that_is_written_down_once(place: Site) -> None:
    node(place, 0, step=12, records=[rank(0, "ConnectionError: Connection closed by peer")], state="ended")
    node(place, 1)
    found = replacement(place, SILENT)
    assert found.refusal(["c3"]) is None
    following = found.carry_out(["c3"], print)
    assert following == Seats(1, ("c1", "c3"), (), ("c2",))
    assert replacement(place, SILENT).carry_out(["c3"], print) is None  # who takes over in the middle of it
    entries = history.read(str(place.run))
    assert [(e["event"], e["attempt"]) for e in entries] == [("begun", 0), ("ended", 0), ("begun", 1)]
    assert (entries[0]["nodes"], entries[0]["spares"]) == (["c1", "c2"], ["c3"])
    end, begun = entries[1:]
    assert (end["state"], end["replaced"], end["goes_on"]) == ("NODE_FAIL", ["c2"], True)
    assert "node 1 (c2) ended without a record" in end["error"]
    assert (begun["nodes"], begun["replaces"], begun["slurm_id"]) == (["c1", "c3"], ["c2"], "70")
    link = chain.read(str(place.job))
    assert link is not None and (link.now, link.attempt) == ("70", 1)
    assert not (place.job / "exit.json").exists() and (place.job / "exit-0.json").exists()
    assert bad_nodes.names(str(place.job.parent)) == []  # Slurm has it, so its agent may just have been killed


def test_a_node_that_slurm_has_lost_too_is_bad(place: Site) -> None:
    place.says("sinfo", "echo c2 down*")
    node(place, 0)
    node(place, 1)
    replacement(place, SILENT).carry_out(["c3"], print)
    assert bad_nodes.names(str(place.job.parent)) == ["c2"]


@pytest.mark.parametrize(("error", "lost"), [(XID, ["c2"]), ("ValueError: no more data", [])])
def test_hardware_is_a_nodes_fault_and_a_programs_error_is_not(place: Site, error: str, lost: list[str]) -> None:
    node(place, 0, state="ended", records=[rank(0, "ended", told=True)])
    node(place, 1, state="ended", records=[rank(1, error)])
    found = replacement(place)
    assert found.lost == lost
    refused = found.refusal(["c3"])
    assert refused == (None if lost else "no node has failed")
    if lost:
        found.carry_out(["c3"], print)
        assert bad_nodes.names(str(place.job.parent)) == ["c2"]
        assert history.read(str(place.run))[1]["state"] == "FAILED"


@pytest.mark.parametrize(
    ("spares", "stop", "idle", "words"),
    [
        ([], False, 0, "no spare is left"),
        (["c3"], True, 0, "the job was asked to stop"),
        (["c3"], False, 3, "brought no new checkpoint"),
    ],
)
def test_what_keeps_a_spare_from_being_spent(place: Site, spares: list[str], stop: bool, idle: int, words: str) -> None:
    node(place, 0)
    node(place, 1)
    if stop:
        (place.run / "stop").touch()
    for number in range(idle):
        history.add(str(place.run), "ended", "a.1", number - idle, state="FAILED", code=1, error=str(number))
    refused = replacement(place, SILENT).refusal(spares)
    assert refused is not None and words in refused


def test_a_replacement_is_no_job_that_chain_counts(place: Site) -> None:
    ends = [Ended(n, "NODE_FAIL", 1, to_step=n, checkpoint=n, replaced=n < 2) for n in range(3)]
    assert decision.decide(ends, decision.Limits(2, 3), False, None).goes_on
    assert not decision.decide(ends, decision.Limits(1, 3), False, None).goes_on
    node(place, 0)
    node(place, 1)
    replacement(place, SILENT).carry_out(["c3"], print)
    spec = json.loads((place.job / "agent.json").read_text())
    (place.job / "agent.json").write_text(json.dumps({**spec, "chain": {**LIMITS, "jobs": 3}}))
    done = place.call("begin", "77", SLURM_JOB_NODELIST="c[1-3]")
    assert "LAUNCH_ATTEMPT=2" in done.stdout, done.stderr
    assert "/keepers/.script" in done.stdout  # by which keepers see that there is a batch script
    link = chain.read(str(place.job))
    assert link is not None and link.next is not None  # the second of three jobs, though the third attempt


def test_finish_is_of_the_attempt_that_began_within_the_job(place: Site) -> None:
    node(place, 0)
    node(place, 1)
    replacement(place, SILENT).carry_out(["c3"], print)
    for number, host in enumerate(["c1", "c3"]):
        node(place, number, attempt=1, host=host, state="ended", code=0, records=[])
    assert place.call("finish", "70", LAUNCH_ATTEMPT="0").returncode == 0
    last = history.read(str(place.run))[-1]
    assert (last["event"], last["attempt"], last["state"]) == ("ended", 1, "COMPLETED")
    assert last["allocated_s"] < 60  # not Slurm's ten minutes, which are the first attempt's, too


# Who decides


class Keepers:
    """What the keepers of a job say, without any."""

    def __init__(self, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.job = Clock(), str(place.job)
        monkeypatch.setattr(deciding.time, "monotonic", self.clock)  # type: ignore[attr-defined]

    def say(self, host: str, **report: Any) -> None:
        seats.report(self.job, host, Report(**{"attempt": 0, **report}))

    def decider(self, host: str) -> deciding.Decider:
        from node_agent_lib.spec import Rendezvous, Spec

        words = dict.fromkeys(("job_id", "run_name", "code_dir", "python", "launch", "script"), "x")
        rest: dict[str, Any] = {"args": [], "env": {}, "setup_lines": [], "startup_commands": [], **words}
        rest |= {"secrets_file": None, "stop_grace_s": 1.0, "heartbeat_s": 1.0, "stop_with_parent": False}
        order = Spec(1, job_dir=self.job, run_dir=self.job[:-2], nnodes=2, nproc_per_node=1, stall_s=None,
                     rendezvous=Rendezvous("x", 1), spares=1, **rest)  # fmt: skip
        return deciding.Decider(order, host, ["c1", "c2", "c3"], Silence(2, self.clock, lambda _: []), print)

    def passes(self, seconds: int, decider: deciding.Decider, beating: tuple[str, ...]) -> None:
        for number in range(seconds):
            self.clock.now += 1.0
            for host in beating:
                os.utime(seats.report_path(self.job, host), (number, number))
            decider.decide(NOW)


def test_who_decides_is_the_first_that_lives(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Keepers(place, monkeypatch)
    for host in ("c1", "c2", "c3"):
        told.say(host)
    node(place, 0)
    node(place, 1)
    decider = told.decider("c2")
    told.passes(20, decider, ("c1", "c3"))
    assert not decider.leads(NOW)
    told.passes(int(LEAST_S) + 40, decider, ("c3",))
    assert seats.latest(told.job, NOW) == Seats(1, ("c3", "c2"), (), ("c1",))


def test_a_silent_spare_is_not_taken(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Keepers(place, monkeypatch)
    for host in ("c1", "c2", "c3"):
        told.say(host)
    node(place, 0)
    node(place, 1)
    decider = told.decider("c1")
    told.passes(int(LEAST_S) + 5, decider, ("c2",))
    told.passes(int(LEAST_S) + 5, decider, ())
    assert seats.latest(told.job, NOW) == NOW
    assert (place.job / ".failed-0").exists() and not decider.over  # c1's own agent is to end first
    told.say("c1", code=1, recorded=True)
    told.passes(2, decider, ())
    assert decider.over and seats.is_over(told.job, 0)


def test_on_a_full_disk_the_job_ends_and_holds_no_nodes(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement cannot be written down: the other nodes' agents are told to end, and then all keepers."""
    told = Keepers(place, monkeypatch)
    for host in ("c1", "c2", "c3"):
        told.say(host)
    node(place, 0)
    node(place, 1)
    decider = told.decider("c1")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (chain, history, replacing, seats):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(files, "_write_some", lambda *_: 0)
    told.passes(int(LEAST_S) + 20, decider, ("c3",))
    assert seats.latest(told.job, NOW) == NOW and (place.job / ".failed-0").exists() and not decider.over
    told.say("c1", code=1, recorded=True)
    told.passes(2, decider, ("c3",))
    assert decider.over and seats.is_over(told.job, 0)


def test_who_has_decided_does_not_decide_again_about_the_former_attempt(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own agent ends without a record once the next attempt has begun."""
    told = Keepers(place, monkeypatch)
    for host in ("c1", "c2", "c3"):
        told.say(host)
    node(place, 0)
    node(place, 1)
    decider = told.decider("c1")
    told.passes(int(LEAST_S) + 10, decider, ("c3",))
    assert seats.latest(told.job, NOW).nodes == ("c1", "c3")
    told.say("c1", code=1)
    told.passes(10, decider, ("c3",))
    assert not seats.is_over(told.job, 0) and not decider.over
    assert len(history.read(str(place.run))) == 3
