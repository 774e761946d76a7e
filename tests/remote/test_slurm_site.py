"""Many questions in one round trip, and reading what Slurm answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from automodel_launch.remote import disk, probes, slurm_site
from automodel_launch.remote.probes import Result
from automodel_launch.remote.shell import LocalShell
from automodel_launch.remote.slurm_site import Nodes, Partition


def test_answers_come_back_as_they_are() -> None:
    asked = {
        "one": "printf 'a\\n@two 0\\n b'; exit 3",
        "two": "echo \"it's\" >&2; echo '$(x)'",
        "three": "cat <&3",
        "four": "cat",
    }
    answers = probes.run(LocalShell(), asked, b"the script\n")
    assert answers["one"] == Result(3, "a\n@two 0\n b")
    assert answers["two"] == Result(0, "it's\n$(x)")
    assert answers["three"] == Result(0, "the script")
    assert answers["four"] == Result(0, ""), "standard input is for the one that reads it"
    assert answers["never"].code == probes.LATE


def test_long_answers_do_not_block_each_other() -> None:
    asked = dict.fromkeys(("a", "b", "c"), "seq 20000")
    answers = probes.run(LocalShell(), asked)
    assert all(answers[name].text.endswith("\n20000") for name in asked)


def test_questions_are_asked_side_by_side(tmp_path: Path) -> None:
    # a waits for what b makes: one after the other, a would never be answered
    a = f"until [ -e {tmp_path}/b ]; do sleep 0.05; done; echo a"
    answers = probes.run(LocalShell(), {"a": a, "b": f"touch {tmp_path}/b; echo b"})
    assert (answers["a"].text, answers["b"].text) == ("a", "b")


def test_a_question_without_an_answer_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "EACH_S", 1)
    began = time.monotonic()
    answers = probes.run(LocalShell(), {"a": "sleep 30"})
    assert answers["a"].code == probes.LATE
    assert "no answer" in answers["a"].brief
    assert answers.connection_s <= time.monotonic() - began - 1, "without the time that was spent over there"


def test_what_a_login_prints_is_no_answer() -> None:
    text = "Welcome!\n@home news\n indented\n@a 0\n yes\nnoise\n@b 1\n no\n  really\n"
    assert probes.parse(text) == {"a": Result(0, "yes"), "b": Result(1, "no\n really")}
    assert probes.parse("") == {}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("30:00", 30),
        ("30:01", 31),
        ("1:00:00", 60),
        ("04:00:00", 240),
        ("00:00:30", 1),
        ("1-0", 1440),
        ("2-12", 3600),
        ("1-00:30", 1470),
        ("1-00:00:01", 1441),
        ("7-00:00:00", 10080),
        ("UNLIMITED", None),
        ("INFINITE", None),
        ("", None),
        ("-1", None),
        ("1:2:3:4", None),
    ],
)
def test_times_as_slurm_reads_them(text: str, minutes: int | None) -> None:
    assert slurm_site.minutes(text) == minutes


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("gpu:8", 8),
        ("gpu:h100:8(S:0-1)", 8),
        ("gpu:a100:4,nvme:1", 4),
        ("nvme:2,gpu:8(S:0,1)", 8),
        ("gpu:tesla:2,gpu:kepler:1", 3),
        ("gpu:1g.5gb:7", 7),
        ("(null)", 0),
        ("", 0),
        ("shard:80", 0),
        ("no_gpu:3", 0),
    ],
)
def test_gpus_of_a_node(gres: str, count: int) -> None:
    assert slurm_site.gpus(gres) == count


@pytest.mark.parametrize(
    ("state", "up", "idle"),
    [
        ("idle", True, True),
        ("mixed", True, False),
        ("allocated", True, False),
        ("idle~", True, True),
        ("idle*", False, False),
        ("down", False, False),
        ("down*", False, False),
        ("drained", False, False),
        ("draining", False, False),
        ("maint", False, False),
        ("planned", True, True),
    ],
)
def test_states_of_nodes(state: str, up: bool, idle: bool) -> None:
    (group,) = slurm_site.nodes(f"batch|3|{state}|gpu:8\n")
    assert group == Nodes("batch", 3, state, 8)
    assert (group.up, group.idle) == (up, idle)


def test_partitions() -> None:
    text = (
        "PartitionName=a Default=NO MaxTime=UNLIMITED State=UP Nodes=c[1-4]\n"
        "PartitionName=b AllowGroups=x y Default=YES MaxTime=1-00:00:00 State=DRAIN\nslurm_load: error\n"
    )
    found = slurm_site.partitions(text)
    assert found == [Partition("a", "UP", None, False), Partition("b", "DRAIN", 1440, True)]
    assert slurm_site.chosen([], found) == ["b"]
    assert slurm_site.chosen(["a,c", "a"], found) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "unanswered"),
    [
        ("allocation failure: Unable to contact slurm controller (connect failure)", True),
        ("Slurmctld(primary) at vm is DOWN", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("bash: line 1: sbatch: command not found", True),
        ("sbatch: error: invalid partition specified: nope", False),
        ("allocation failure: Requested node configuration is not available", False),
    ],
)
def test_a_refusal_is_no_silence(text: str, unanswered: bool) -> None:
    assert slurm_site.unanswered(1, text) is unanswered
    assert slurm_site.unanswered(probes.LATE, text)


def test_the_room_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path, tmp_path / "not/yet"):
        asked = probes.run(LocalShell(), {"root": disk.probe(str(root))})["root"]
        through_bash, here = disk.read(str(root), asked), disk.local(str(root))
        for found in (through_bash, here):
            assert found.error is None
            assert found.base == str(tmp_path)
            assert found.exists == (root == tmp_path)
        assert abs((through_bash.free or 0) - (here.free or 0)) < 2**30
    for root in (tmp_path / "file", tmp_path / "file/below"):
        asked = probes.run(LocalShell(), {"root": disk.probe(str(root))})["root"]
        assert disk.read(str(root), asked).error == disk.local(str(root)).error == "Not a directory"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_that_hangs() -> None:
    assert disk.read("/x", Result(probes.LATE, "")).error == f"no answer within {probes.EACH_S} s"
