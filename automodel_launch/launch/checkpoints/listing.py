"""A run's checkpoints with what its metrics say of them, and the one that a word of the command line means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import JobError, UsageError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch.checkpoints.asking import LOOK_S, ask
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.report import joining, reading

COMPLETE, INCOMPLETE, ASIDE = "complete", "incomplete", "damaged"
LAST, BEST = "last", "best"
Losses = dict[int, tuple[float | None, float | None]]  # step -> loss and validation loss


@dataclass(frozen=True)
class Row:
    """One checkpoint.

    `state`: complete, incomplete (being saved, or cut short), damaged or being removed, by its name and marks alone;
    `saved` is unix seconds; `exports` are directories for transformers; `needed_by` are runs that begin from it;
    `evaluations`: name, data, loss, perplexity and tokens of each on held-out data; `evaluation_job`: state, error,
    slurm_id and job_dir of the one that `on_checkpoint` has had submitted, None without.
    """

    name: str
    step: int
    state: str
    bytes: int
    saved: float | None
    loss: float | None
    val_loss: float | None
    exports: tuple[str, ...]
    pointers: tuple[str, ...]
    needed_by: tuple[str, ...]
    evaluations: tuple[dict[str, Any], ...]
    evaluation_job: dict[str, Any] | None = None


@dataclass(frozen=True)
class Kept:
    """A run's checkpoints, by step. `folder`: where they lie; `python` and `backend`: the run's own."""

    record: Record
    folder: str
    python: str | None
    backend: str
    place: FileSystem
    recipes: Path
    rows: tuple[Row, ...]
    free: int | None

    @property
    def complete(self) -> tuple[Row, ...]:
        """Those whose save has come to its end, by step."""
        return tuple(row for row in self.rows if row.state == COMPLETE)

    @property
    def last(self) -> Row | None:
        """The complete one of the highest step."""
        return self.complete[-1] if self.complete else None

    @property
    def best(self) -> Row | None:
        """The complete one of the lowest validation loss, the later of two; None without any."""
        told = [row for row in self.complete if row.val_loss is not None]
        return min(reversed(told), key=lambda row: row.val_loss or 0.0, default=None)

    def config(self) -> Mapping[str, Any]:
        """The config of the run's last job, as its plan has it; empty where that cannot be read."""
        config = JobDir(self.record.job_dir, self.place).plan().get("config")
        return config if isinstance(config, Mapping) else {}

    def ask(self, do: str, seconds: float = LOOK_S, token: str | None = None, **request: Any) -> dict[str, Any]:
        """Have recipes/checkpoints.py do something to them; see `asking.ask`."""
        whole = {"do": do, "folder": self.folder, "run_dir": self.record.run_dir, **request}
        return ask(self.place, self.recipes, self.python, whole, seconds=seconds, token=token)

    def find(self, word: str) -> Row:
        """The checkpoint of a step (as its name counts them), of that name, the `last` or the `best`.

        Raises:
            UsageError: there is none.
        """
        if not self.complete:
            raise UsageError(f"run {self.record.run_name} has no complete checkpoint in {self.folder}.")
        if word in (LAST, BEST):
            found = self.last if word == LAST else self.best
            if found is None:
                raise UsageError(f"run {self.record.run_name} has no validation losses.", f"{LAST}, or a step")
            return found
        for row in self.rows:
            if word in (row.name, str(row.step)) and row.state == COMPLETE:
                return row
        return self._none(word)

    def _none(self, word: str) -> Row:
        odd = [row for row in self.rows if word in (row.name, str(row.step))]
        if odd:
            raise UsageError(f"checkpoint {odd[0].name} is {odd[0].state}.", self.ways_on(odd[0]))
        steps = ", ".join(str(row.step) for row in self.complete[-8:])
        message = f"run {self.record.run_name} has no checkpoint {word!r}."
        raise UsageError(message, f"its complete ones are of step {steps}; {LAST}, {BEST}")

    def ways_on(self, but: Row) -> str:
        """What to name in place of a checkpoint that will not do."""
        others = [str(row.step) for row in self.complete if row.name != but.name][-8:]
        return f"complete ones are of step {', '.join(others)}" if others else "there is no other"


def look(record: Record, recipes: Path) -> Kept:
    """A run's checkpoints, in one look at its records and one at their directory.

    Raises:
        JobError: the job's order does not say where they are.
        ClusterError: its place does not answer.
    """
    place = executors.get(record.executor).place_of(record)
    order = JobDir(record.job_dir, place).agent_order() or {}
    folder = order.get("checkpoint_dir")
    if not isinstance(folder, str) or not folder:
        what = "saves no checkpoints" if order else f"has no {contract.AGENT} in {record.job_dir}"
        raise JobError(f"{record.job_id} {what}.", "python launch.py jobs lists others")
    python = order.get("python")
    backend = order.get("backend") or contract.AUTOMODEL
    kept = Kept(record, folder, python if isinstance(python, str) else None, str(backend), place, recipes, (), None)
    told = kept.ask("list")
    known = losses(record, place)
    rows = tuple(_row(one, known) for one in told["checkpoints"])
    return Kept(record, folder, kept.python, kept.backend, place, recipes, rows, told.get("free"))


def _row(told: dict[str, Any], known: Losses) -> Row:
    """A step's own line of metrics counts; of a run whose metrics are gone, what the checkpoint itself holds."""
    loss, val_loss = known.get(told["step"], (None, None))
    held = told["losses"]
    return Row(
        name=told["name"],
        step=told["step"],
        state=told["state"],
        bytes=told["bytes"],
        saved=told["saved"],
        loss=loss if loss is not None else _finite(held.get("train_loss")),
        val_loss=val_loss if val_loss is not None else _finite(held.get("val_loss")),
        exports=tuple(told["exports"]),
        pointers=tuple(told["pointers"]),
        needed_by=tuple(told["needed_by"]),
        evaluations=tuple(told.get("evaluations") or ()),
        evaluation_job=told.get("evaluation_job"),
    )


def losses(record: Record, place: FileSystem) -> Losses:
    """Step -> (loss, validation loss); of several validations that of `default`, else of the first by name."""
    found = {}
    for row in joining.rows(joining.join(reading.read(record, place))):
        names = sorted(name for name in row if name.startswith("val_loss"))
        found[int(row["step"])] = (_finite(row.get("loss")), next(_numbers(row, names), None))
    return found


def _numbers(row: dict[str, Any], names: Sequence[str]) -> Iterator[float]:
    yield from (value for name in names if (value := _finite(row.get(name))))  # 0.0: of no token


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
