"""Which steps a profile has, on which all ranks agree; what is counted as waiting. tests/launch has it with torch."""

from __future__ import annotations

import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

import contract
from pretrain_lib import profiler, profiling


class Fake:
    """In place of torch's: what it is told."""

    def __init__(self, folder: Path, rank: int, trace: bool) -> None:
        self.told: list[Any] = [folder.name, rank, trace]
        MADE.append(self)

    def begins(self, step: int) -> None:
        self.told.append(step)

    def ended(self) -> None:
        self.told.append("|")

    def finish(self, early: str) -> None:
        self.told.append(early)

    def measure(self) -> dict[str, Any]:
        rank = self.told[1]
        return {"step_s": 0.5, "outside_s": [0.1 * rank, 0.1 * rank] if rank != 3 else None}


MADE: list[Fake] = []


class Ranks:
    """Ranks of a training of `end` steps; what rank 0 sends is known to those that come after it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, end: int, number: int = 3) -> None:
        MADE.clear()
        monkeypatch.setattr(profiling, "_LOOK_EVERY_S", 0.0)
        monkeypatch.setattr(profiling, "Profiler", Fake)
        monkeypatch.setenv("WORLD_SIZE", str(number))
        self.folder, self.patch, self.step = folder, monkeypatch, 0
        self.all = [self._as(rank, lambda: profiling.Profiles(str(folder), lambda: end)) for rank in range(number)]

    def _as(self, rank: int, act: Callable[[], Any]) -> Any:
        self.patch.setenv("RANK", str(rank))
        return act()

    def ask(self, number: str, **asked: Any) -> None:
        told = {"id": number, "what": "profile", "time": 1.0, "first": None, "steps": 3, "ranks": None, "trace": True}
        (self.folder / contract.PROFILE_REQUEST).write_text(json.dumps({**told, **asked}))

    def answer(self, number: str) -> dict[str, Any]:
        path = self.folder / contract.ANSWERS / f"{contract.PROFILER}-{number}.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def take(self, steps: int) -> None:
        for _ in range(steps):
            for rank, one in enumerate(self.all):
                self._as(rank, functools.partial(self._step, one))
            bits = [self._as(rank, one.wish) for rank, one in enumerate(self.all)]
            sent: list[int] = []
            for rank, one in enumerate(self.all if any(bits) else []):
                gather = functools.partial(self._gather, sent, rank, itertools.count(), bits)
                self._as(rank, functools.partial(one.agree, bits, gather, self.step))
            self.step += 1

    def _step(self, one: profiling.Profiles) -> None:
        one.begins(self.step)
        one.ended(self.step)

    def _gather(self, sent: list[int], rank: int, told: Iterator[int], bits: list[int], number: int) -> list[int]:
        place = next(told) - bool(bits[-1])
        if place < 0:  # times, which each rank has
            return [-1 if one == 3 else 100_000 * one for one in range(len(self.all))]
        if rank == 0:
            sent.append(number)
        return [sent[place], *[0] * (len(self.all) - 1)]


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ranks:
    return Ranks(tmp_path, monkeypatch, end=40)


def test_the_next_steps_with_one_to_warm_up(ranks: Ranks) -> None:
    ranks.take(5)
    ranks.ask("a")
    ranks.take(6)
    assert [one.told for one in MADE] == [
        ["steps-7-9", rank, True, *("|", 7, "|", 8, "|", 9, "|"), ""] for rank in range(3)
    ]
    assert ranks.answer("a")["first"] == 7


def test_steps_far_ahead_of_some_ranks(ranks: Ranks) -> None:
    ranks.take(2)
    ranks.ask("a", first=20, steps=1, ranks=[2], trace=False)
    ranks.take(17)
    assert MADE == []
    ranks.take(4)
    assert [one.told for one in MADE] == [["steps-20-20", 2, False, "|", 20, "|", ""]]


def test_at_the_very_end_there_is_no_time_to_warm_up(ranks: Ranks) -> None:
    ranks.take(36)
    ranks.ask("a")
    ranks.take(4)
    assert [one.told[3:] for one in MADE] == [[37, "|", 38, "|", 39, "|", ""]] * 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"first": 5}, "step 5 is past: the training has done step 5"),
        ({"first": 38}, "step 40 is beyond the end: the last one is 39"),
        ({"steps": 36}, "is beyond the end"),
        ({"ranks": [1, 3]}, "there is no rank 3; ranks: 0 to 2"),
        ({"steps": 0}, "another version"),
        ({"steps": "3"}, "another version"),
        ({"first": -1}, "another version"),
        ({"ranks": {"0": 1}}, "another version"),
        ({"steps": True}, "another version"),
    ],
)
def test_refused(ranks: Ranks, asked: dict[str, Any], words: str) -> None:
    ranks.take(5)
    ranks.ask("a", **asked)
    ranks.take(1)
    assert words in ranks.answer("a")["error"]
    ranks.ask("b")
    ranks.take(6)
    assert len(MADE) == 3, "the next one is done"


@pytest.mark.parametrize("text", ["", "[]", '{"id": 5}', "\xff", '{"id": "../../x"}', '{"what": "profile"}'])
def test_odd_requests_are_none(ranks: Ranks, text: str) -> None:
    (ranks.folder / contract.PROFILE_REQUEST).write_text(text)
    ranks.take(2)
    assert MADE == []
    assert not (ranks.folder / contract.ANSWERS).exists()


def test_one_of_an_attempt_before_is_none_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / contract.PROFILE_REQUEST).write_text('{"id": "old", "steps": 3}')
    ranks = Ranks(tmp_path, monkeypatch, end=40)
    ranks.take(3)
    assert MADE == []


def test_steps_that_were_profiled_before_get_a_folder_of_their_own(ranks: Ranks) -> None:
    (ranks.folder / contract.PROFILES / "steps-3-5").mkdir(parents=True)
    ranks.ask("a", first=3)
    ranks.take(7)
    assert [one.told[0] for one in MADE] == ["steps-3-5.2"] * 3


def test_a_second_one_meanwhile_and_a_withdrawal(ranks: Ranks) -> None:
    ranks.ask("a", first=30)
    ranks.take(2)
    ranks.ask("b")
    ranks.take(1)
    assert "withdrawn" in ranks.answer("a")["error"], "its file was replaced"
    assert ranks.answer("b")["error"] is None
    (ranks.folder / contract.PROFILE_REQUEST).write_text("")  # as while it is being written
    ranks.take(1)
    ranks.ask("c", first=30)
    ranks.take(6)
    assert "are being profiled now" in ranks.answer("c")["error"], "b has begun before it was heard"
    assert [one.told[0] for one in MADE] == ["steps-4-6"] * 3
    ranks.ask("d", first=30)
    ranks.take(1)
    (ranks.folder / contract.PROFILE_REQUEST).unlink()
    ranks.take(1)
    assert "withdrawn" in ranks.answer("d")["error"]
    ranks.ask("e", first=2)
    ranks.take(26)
    assert "is past" in ranks.answer("e")["error"]
    assert len(MADE) == 3


def test_one_that_has_begun_goes_on_where_rank_0_has_no_part_in_it(ranks: Ranks) -> None:
    ranks.ask("a", first=3, ranks=[2])
    ranks.take(4)
    (ranks.folder / contract.PROFILE_REQUEST).unlink()
    ranks.take(4)
    assert [one.told[-1] for one in MADE] == [""]
    assert ranks.answer("a")["error"] is None


def test_the_end_comes_before_the_steps(ranks: Ranks) -> None:
    ranks.ask("a", first=30, ranks=[1])
    ranks.take(3)
    for rank, one in enumerate(ranks.all):
        ranks._as(rank, one.close)
    assert [one.told for one in MADE] == [["steps-30-32", 1, False, "the training has ended before"]]


@pytest.fixture
def sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ranks:
    """Four ranks, of which the last one cannot measure; a sample every ten steps."""
    monkeypatch.setenv(contract.RANK_TIMES_VAR, "10")
    return Ranks(tmp_path, monkeypatch, end=40, number=4)


def test_a_sample_every_so_many_steps(sampled: Ranks) -> None:
    sampled.take(40)
    rows = [json.loads(line) for line in (sampled.folder / contract.RANK_TIMES).read_text().splitlines()]
    assert [row["step"] for row in rows] == [13, 23, 33]
    assert all(set(row) == set(contract.RANK_TIME_KEYS) for row in rows)
    assert rows[0]["ranks"] == [[0, 0.0], [1, 0.1], [2, 0.2]]
    assert (rows[0]["median_s"], rows[0]["step_s"]) == (0.05, 0.5)
    assert not (sampled.folder / contract.PROFILES).exists()
    assert not (sampled.folder / contract.ANSWERS).exists()


def test_a_profile_that_is_asked_for_meanwhile_waits_for_the_sample(sampled: Ranks) -> None:
    sampled.take(12)
    sampled.ask("a", steps=1)
    sampled.take(10)
    assert sampled.answer("a")["error"] is None
    assert [one.told[0] for one in MADE[4:8]] == ["steps-15-15"] * 4


@pytest.mark.parametrize("text", ["", "0", "-3", "many"])
def test_no_samples_where_nobody_wants_them(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.RANK_TIMES_VAR, text)
    Ranks(tmp_path, monkeypatch, end=40).take(40)
    assert (MADE, list(tmp_path.iterdir())) == ([], [])


def test_time_in_collectives_is_counted_once() -> None:
    assert profiler.inside([], 0, 10) == 0
    assert profiler.inside([(-5, 2), (1, 3), (6, 7), (6, 6), (9, 99)], 0, 10) == 5
    assert profiler.inside([(0, 10), (2, 3)], 2, 8) == 6


def test_what_goes_wrong_stands_in_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    with torch.profiler.profile():
        one = profiler.Profiler(tmp_path / "p", 3, True)
    one.begins(5)
    one.ended()
    one.finish("")
    record = json.loads((tmp_path / "p" / "rank-3.json").read_text())
    assert set(record) == set(contract.PROFILE_RANK_KEYS)
    assert (record["rank"], record["steps"], record["trace"]) == (3, 0, None)
    assert "another profiler is at work" in record["error"]
    assert "rank 3: no profile: RuntimeError" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The training goes on, and other profiles can follow."""
    pytest.importorskip("torch")
    (tmp_path / "file").touch()
    one = profiler.Profiler(tmp_path / "file" / "p", 0, True)
    one.begins(5)
    one.ended()
    one.finish("")
    two = profiler.Profiler(tmp_path / "q", 0, True)
    two.begins(6)
    two.ended()
    two.finish("")
    record = json.loads((tmp_path / "q" / "rank-0.json").read_text())
    assert (record["error"], record["steps"], record["trace"]) == (None, 1, "rank-0.trace.json.gz")
