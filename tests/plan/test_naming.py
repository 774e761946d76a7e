"""Names of runs and ids of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automodel_launch.errors import UsageError
from automodel_launch.plan import naming
from tests.workbench import refused

NASTY = [
    "a b",
    "a;rm -rf",
    "$HOME",
    "`id`",
    "a'b",
    'a"b',
    "a\nb",
    "..",
    "a/b",
    "a.1",
    "ä",
    "1a",
    "-a",
    "",
    "a" * 101,
    "a\n",
]


@pytest.mark.parametrize("name", NASTY)
def test_names_that_cannot_be_a_directory_and_a_job_name(name: str) -> None:
    refused(UsageError, lambda: naming.check(name), "--name", repr(name[:100]), "letters")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("llama3.1-8b", "llama3-1-8b"),
        ("run.1", "run-1"),
        ("8b (short)", "run-8b-short"),
        ("2026-11-26", "run-2026-11-26"),
        ("a" * 500, "a" * 100),
        ("a" * 99 + "-b", "a" * 99),
        ("größe", "groe"),
        ("--x--", "x"),
        ("all.", "all-1"),
        ("привет", None),
        ("", None),
    ],
)
def test_what_may_be_is_told_with_a_name_that_does(name: str, instead: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        naming.check(name)
    assert all(word in caught.value.message for word in ("letters", "digits", "100"))
    assert len(caught.value.message) < 250
    if instead is None:
        assert caught.value.hint is None
        return
    offered = str(caught.value.hint).removeprefix("--name ")
    assert offered == instead
    naming.check(offered)


def test_a_new_run_beside_one_with_a_name_of_full_length_has_a_good_name_too() -> None:
    name = naming.free_name("a" * 100, ["a" * 100, "a" * 98 + "-2"])
    assert name == "a" * 98 + "-3"
    naming.check(name)


@pytest.mark.parametrize("name", ["a", "Big-Run_2", "a" * 100])
def test_names_that_can(name: str) -> None:
    naming.check(name)


@pytest.mark.parametrize("config", ["tiny", "my config (2)", "привет", "a'b$c`", "x" * 150, "-", ".hidden"])
def test_a_made_up_name_is_always_a_good_one(config: str) -> None:
    name = naming.run_name("pretrain", config, {"a": 1})
    naming.check(name)
    assert name.startswith("pretrain-")


def test_the_name_depends_on_what_is_trained_alone() -> None:
    name = naming.run_name("r", "c", {"a": {"x": 1, "y": 2}})
    assert name == naming.run_name("r", "c", {"a": {"y": 2, "x": 1}})
    others: list[dict[str, Any]] = [{"a": {"x": 1, "y": 3}}, {"a": {"x": "1", "y": 2}}, {"a": [1, 2]}, {}]
    assert len({name, *(naming.run_name("r", "c", other) for other in others)}) == 5


def test_of_two_whose_hashes_begin_alike_the_second_has_more_digits() -> None:
    others: dict[str, str] = {}
    first, second, again = (naming.run_name("r", "c", {"a": a}, others=others) for a in (2362, 5769, 2362))
    assert (first, again) == ("r-c-b67311", first)
    assert second.startswith(first) and len(second) == len(first) + 6
    assert naming.run_name("r", "c", {"a": 5769}, others=others) == second


@pytest.mark.parametrize(
    "trained", [{0: "a", "b": 1}, {True: 1, "b": 2}, {"a": b"bytes"}, {"a": "\udcff"}, {"a": float("nan")}]
)
def test_odd_keys_and_values_have_a_name(trained: dict[Any, Any]) -> None:
    assert naming.run_name("r", "c", trained) == naming.run_name("r", "c", dict(reversed(trained.items())))


def test_ids_count_up(tmp_path: Path) -> None:
    assert naming.next_job_id("a", []) == "a.1"
    for name in ("a.1", "a.10", "a.2", "a-2.99", "a.x", "aa.50", "b.70", "a.11.tar"):
        (tmp_path / name).mkdir()
    assert naming.next_job_id("a", [p.name for p in tmp_path.iterdir()]) == "a.11"
    assert naming.next_job_id("b", [p.name for p in tmp_path.iterdir()]) == "b.71"


def test_a_removed_job_does_not_bring_an_id_back(tmp_path: Path) -> None:
    (tmp_path / "a.3").mkdir()
    assert naming.next_job_id("a", [p.name for p in tmp_path.iterdir()]) == "a.4"


@pytest.mark.parametrize("run", ["a", "a-1", "a-b_c"])
def test_the_run_of_a_job(run: str) -> None:
    assert naming.run_of(naming.job_id(run, 12)) == run


def test_a_fresh_name_stands_beside_the_others(tmp_path: Path) -> None:
    assert naming.free_name("a", [p.name for p in tmp_path.iterdir()]) == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2.1").mkdir()  # its run directory is gone, its job is not
    assert naming.free_name("a", [p.name for p in tmp_path.iterdir()]) == "a-3"
