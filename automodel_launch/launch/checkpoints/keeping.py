"""Which checkpoints of a run stay when others are removed, and that no job may be at work on any of them."""

from __future__ import annotations

from dataclasses import dataclass

from automodel_launch import contract
from automodel_launch.errors import JobError, PlanRefused
from automodel_launch.jobs.records import Record
from automodel_launch.launch import claim
from automodel_launch.launch.checkpoints.asking import WORK_S
from automodel_launch.launch.checkpoints.listing import Kept, Row
from automodel_launch.launch.checkpoints.needed import Needs
from automodel_launch.remote.filesystem import FileSystem


@dataclass(frozen=True)
class Choice:
    """`stays`: each checkpoint that is kept, with why; `goes`: those that would be removed."""

    stays: tuple[tuple[Row, str], ...]
    goes: tuple[Row, ...]

    @property
    def bytes(self) -> int:
        """What would be free again."""
        return sum(row.bytes for row in self.goes)


def choose(kept: Kept, newest: int, needs: Needs) -> Choice:
    """Keep the `newest` newest complete checkpoints and the best, all read and found whole; what LATEST, LOWEST_VAL and
    the run's end name; and what unfinished runs began from, or name in their configs. One that is damaged protects
    nothing, but the one whose export `hf` leads to stays whatever else is wrong with it.

    Raises:
        JobError: there are checkpoints, and none of them is whole: nothing may go.
    """
    if not kept.rows:
        return Choice((), ())
    whole = _Whole(kept)
    why: dict[str, list[str]] = {}
    good = whole.first(sorted(kept.complete, key=lambda row: -row.step), newest)
    if not good:
        raise JobError(
            f"run {kept.record.run_name} has no checkpoint that is whole; nothing is removed.",
            f"python launch.py checkpoints {kept.record.run_name} verify",
        )
    for number, row in enumerate(good):
        why.setdefault(row.name, []).append("last" if number == 0 else f"among the last {newest}")
    measured = sorted((r for r in kept.complete if r.val_loss is not None), key=lambda r: (r.val_loss or 0.0, -r.step))
    for row in whole.first(measured, 1):
        why.setdefault(row.name, []).append("lowest validation loss")
    for row in kept.complete:
        if contract.HF in row.pointers or (row.pointers and whole.is_good(row)):  # `hf`: the run's result
            why.setdefault(row.name, []).extend(row.pointers)
    for row in kept.rows:
        if row.needed_by:
            why.setdefault(row.name, []).append(f"run {row.needed_by[0]} began from it")
        if needs.has(kept.record.run_dir, kept.folder, row.name, kept.place):
            why.setdefault(row.name, []).append("named in the config of an unfinished run")
    stays = tuple((row, ", ".join(why[row.name])) for row in kept.rows if row.name in why)
    return Choice(stays, tuple(row for row in kept.rows if row.name not in why))


def refuse_while_busy(record: Record, place: FileSystem) -> None:
    """A job that runs may write or read any of them, and one that waits begins from one.

    Raises:
        PlanRefused: a job of the run is in the queue, or runs.
        ClusterError: whether one is cannot be told.
    """
    try:
        claim.refuse_while_busy(record, place)
    except claim.RunBusy as busy:
        message = f"{busy.who}; its checkpoints are left alone."
        fix = f"prune once it has ended, or `python launch.py pause {record.job_id}` first"
        raise PlanRefused(message, fix) from None


def remove(kept: Kept, rows: tuple[Row, ...]) -> tuple[list[str], dict[str, str]]:
    """Remove them; the names that are gone, and why others are not.

    Raises:
        JobError: a job of the run has begun meanwhile; nothing was removed.
    """
    done = kept.ask("remove", WORK_S, names=[row.name for row in rows])
    return list(done["removed"]), dict(done["failed"])


class _Whole:
    """Which checkpoints are whole: each is read once, and only where that counts."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.known: dict[str, bool] = {}

    def is_good(self, row: Row) -> bool:
        if row.name not in self.known:
            self.known[row.name] = not self.kept.ask("verify", names=[row.name])["faults"][row.name]
        return self.known[row.name]

    def first(self, rows: list[Row], count: int) -> list[Row]:
        """The first so many that are whole."""
        found: list[Row] = []
        for row in rows:
            if len(found) < count and self.is_good(row):
                found.append(row)
        return found
