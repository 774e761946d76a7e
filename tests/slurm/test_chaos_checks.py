"""What scripts/chaos looks for is found where it is planted, and not where it is not; without a cluster."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.slurm import learner
from tests.slurm.chaos import draw, leaks, story
from tests.slurm.chaos.kinds import load
from tests.slurm.chaos.place import Place
from tests.slurm.chaos.tally import LEAK, LIE, LOST, WRONG, Finding, Tally
from tests.slurm.chaos.truth import SlurmJob, Snapshot, View
from tests.slurm.chaos.witness import Witness

CONFIG = {**learner.CONFIG, "steps": 12}


def test_there_are_kinds_enough_and_each_says_what_it_does() -> None:
    kinds = load()
    assert len(kinds) >= 25
    assert all(kind.about for kind in kinds.values())


def test_a_seed_draws_the_same_faults_and_every_kind_before_any_comes_again() -> None:
    names = sorted(load())
    first = [draw.kind(7, number, names) for number in range(len(names))]
    assert sorted(first) == names
    assert first == [draw.kind(7, number, names) for number in range(len(names))]
    assert first != [draw.kind(8, number, names) for number in range(len(names))]
    assert draw.details(7, 3).random() == draw.details(7, 3).random() != draw.details(7, 4).random()


def jobs(*states: str) -> list[SlurmJob]:
    """Slurm's jobs of one launch."""
    return [SlurmJob(number, state, "None", "/jobs/a.1", "a.1") for number, state in enumerate(states, 1)]


def own(state: str, goes_on: bool | None = None, complete: bool = True) -> dict[str, Any]:
    """An exit.json."""
    return {"state": state, "complete": complete, "ended": 100.0, **({} if goes_on is None else {"goes_on": goes_on})}


@pytest.mark.parametrize(
    ("view", "true"),
    [
        (View(jobs("PENDING")), {"PENDING"}),
        (View(jobs("RUNNING", "PENDING")), {"RUNNING"}),
        (View(jobs("SUSPENDED", "PENDING")), {"SUSPENDED"}),
        (View(jobs("FAILED", "PENDING"), own("FAILED", goes_on=True)), {"PENDING"}),
        (View(jobs("COMPLETED", "PENDING"), own("COMPLETED", goes_on=False)), {"COMPLETED"}),
        (View(jobs("COMPLETED", "PENDING"), own("CANCELLED", goes_on=False), resumed=200.0), {"PENDING"}),
        (View(jobs("COMPLETING"), own("COMPLETED", goes_on=False)), {"RUNNING", "COMPLETED"}),
        (View(jobs("TIMEOUT"), own("CANCELLED")), {"TIMEOUT", "CANCELLED"}),
        (View(jobs("COMPLETED"), own("COMPLETED")), {"COMPLETED"}),
        (View(jobs("COMPLETED")), {"UNKNOWN", "FAILED"}),
        (View([]), {"SUBMITTING", "NOT_SUBMITTED"}),
        (View([], launching=True), {"SUBMITTING"}),
        (View(None, own("COMPLETED", goes_on=False)), {"COMPLETED", "UNKNOWN", "SUBMITTING"}),
        (View(None), {"RUNNING", "PENDING", "UNKNOWN", "SUBMITTING"}),
    ],
)
def test_which_states_are_true(view: View, true: set[str]) -> None:
    assert view.allowed == true


def metrics(*starts_and_ends: tuple[int, int]) -> list[dict[str, Any]]:
    """Attempts that have done those steps."""
    losses = learner.undisturbed(CONFIG, 2)
    return [{"step": s, "loss": losses[s]} for first, last in starts_and_ends for s in range(first, last + 1)]


def headings(found: list[Finding]) -> list[str]:
    """Only those."""
    return [finding.heading for finding in found]


def test_losses() -> None:
    assert list(story.of_losses(metrics((0, 11)), CONFIG, 2)) == []
    assert list(story.of_losses(metrics((0, 8), (5, 11)), CONFIG, 2)) == []
    assert headings(list(story.of_losses(metrics((0, 8), (0, 11)), CONFIG, 2))) == [WRONG]
    assert headings(list(story.of_losses(metrics((0, 8), (10, 11)), CONFIG, 2))) == [WRONG]
    changed = metrics((0, 11))
    changed[4]["loss"] += 0.01
    assert headings(list(story.of_losses(changed, CONFIG, 2))) == [WRONG]


def begun(attempt: int, checkpoint: int | None = None) -> dict[str, Any]:
    """A line of history.jsonl."""
    return {"event": "begun", "job_id": "a.1", "attempt": attempt, "checkpoint": checkpoint}


def ended(attempt: int, goes_on: bool, steps: tuple[int, int] = (0, 9)) -> dict[str, Any]:
    """A line of history.jsonl."""
    entry = {"event": "ended", "job_id": "a.1", "attempt": attempt, "goes_on": goes_on}
    return {**entry, "from_step": steps[0], "to_step": steps[1]}


RESUMED = {"event": "resumed", "job_id": "a.1", "attempt": 0}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([begun(0), ended(0, True), begun(1, 4), ended(1, False)], []),
        ([begun(0), ended(0, False), RESUMED, begun(1, 4), ended(1, False)], []),
        ([begun(0), ended(0, False), begun(1, 4), ended(1, False)], [LOST]),  # a chain that had ended starts again
        ([begun(0), ended(0, True), begun(2), ended(2, False)], [LIE]),
        ([begun(0), begun(1), ended(1, False)], [LIE]),  # an attempt without an end
        ([begun(0), ended(0, True, (9, 3)), begun(1), ended(1, False)], [LIE]),
        ([begun(0, 9), ended(0, True), begun(1, 4), ended(1, False)], [LIE]),  # behind a checkpoint that it had
    ],
)
def test_history(entries: list[dict[str, Any]], expected: list[str]) -> None:
    assert headings(list(story.of_history(entries))) == expected


def test_summary() -> None:
    tally = Tally(5)
    assert not tally.clean  # nothing was tried
    tally.add(0, "scancel", [])
    assert tally.clean
    tally.add(1, "held", [Finding(LEAK, "a"), Finding(LEAK, "b")])
    assert tally.summary(3.2) == (
        "2 faults of 2 kinds, seed 5, 3 minutes: 0 lost, 0 lies, 2 leaks, 0 orphans, 0 wrong losses"
    )
    assert not tally.clean


def place(root: Path) -> Place:
    """As much of one as is needed without a cluster."""
    folders = {name: root / name for name in ("disk", "records", "cluster")}
    for folder in folders.values():
        folder.mkdir()
    disks = {name: SimpleNamespace(path=folders[name]) for name in ("disk", "records")}
    cluster = SimpleNamespace(dir=folders["cluster"])
    return cast(Place, SimpleNamespace(token="3f9a" * 8, began=time.time(), cluster=cluster, **disks))


def test_a_secret_is_found_wherever_it_must_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, shared = place(tmp_path), tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setattr(leaks, "SHARED", shared)  # the machine's own may hold millions of files
    own = tmp_path / "disk" / "secrets.env"
    own.write_text(f"CHAOS_TOKEN={here.token}")
    own.chmod(0o600)
    assert leaks.find(here, job_lives=True) == []
    assert headings(leaks.find(here, job_lives=False)) == [LEAK]
    own.chmod(0o644)
    assert headings(leaks.find(here, job_lives=True)) == [LEAK]
    own.unlink()
    for path in (tmp_path / "records" / "a.json", tmp_path / "cluster" / "state", shared / "left"):
        path.write_text(f"x {here.token} x")
        assert headings(leaks.find(here, job_lives=False)) == [LEAK]
        path.unlink()
    assert leaks.find(here, job_lives=False) == []


def test_a_state_is_a_lie_after_two_polls_and_is_told_once(tmp_path: Path) -> None:
    witness = Witness(place(tmp_path))
    now = Snapshot([SlurmJob(1, "RUNNING", "None", "/jobs/a.1", "a.1")])
    row = {"job_id": "a.1", "job_dir": "/jobs/a.1", "run_dir": "/jobs/a", "state": "PENDING"}
    for lies in (0, 0, 1, 1):
        witness._compare(row, now, now)
        assert headings(witness.found) == [LIE] * lies
    witness._compare({**row, "state": "RUNNING"}, now, now)
    for lies in (1, 1, 2):
        witness._compare(row, now, now)
        assert headings(witness.found) == [LIE] * lies
