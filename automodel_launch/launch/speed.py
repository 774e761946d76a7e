"""How far a job is, and how fast: from the last rows of its metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs import strays
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record, Status, is_number, is_whole
from automodel_launch.launch.progress import WINDOW, clock, step_seconds


@dataclass(frozen=True)
class Speed:
    """`step` counts from 0, `done` from 1, up to `max_steps`; `loss` is None where it was no finite number, too.

    `val_step` counts from 0; `tps` is tokens a second; `left_s` the seconds that the rest takes at the pace of the last
    steps, None once the job is over; `elapsed_s` those since this attempt began.
    """

    step: int | None = None
    done: int | None = None
    max_steps: int | None = None
    loss: float | None = None
    val_loss: float | None = None
    val_step: int | None = None
    tps: float | None = None
    step_s: float | None = None
    left_s: float | None = None
    elapsed_s: float | None = None
    is_logged: bool = True  # of a step that another file tells of, the loss is not known
    earlier: int = 0  # attempts at the job before this one

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: value for name, value in asdict(self).items() if name not in ("is_logged", "earlier")}

    @property
    def share(self) -> float | None:
        """Of all steps those that are done."""
        return min(1.0, self.done / self.max_steps) if self.done is not None and self.max_steps else None

    @property
    def validated(self) -> int | None:
        """How many steps were done at the last validation: beside `done` it counts as that does."""
        return None if self.val_step is None else self.val_step + 1

    def took(self, over: bool) -> list[str]:
        """`0:03:44 elapsed`, `0:03:44 in all`; nothing where it is not known."""
        if self.elapsed_s is None:
            return []
        end = "elapsed" if not over else "in its last attempt" if self.earlier else "in all"
        return [f"{clock(self.elapsed_s)} {end}"]

    def words(self, over: bool) -> str:
        """`step 120 of 150 (80%), loss 5.5213, 2,345 tokens/s, 0:01:12 left, 0:03:44 elapsed`; empty before a step."""
        elapsed = self.took(over)
        if self.done is None:
            return "".join(elapsed)
        total = f" of {self.max_steps} ({self.share:.0%})" if self.max_steps else ""
        told = [f"step {self.done}{total}"]
        if self.is_logged:
            told += ["loss nan" if self.loss is None else f"loss {self.loss:.4f}"]
        told += [f"{self.tps:,.0f} tokens/s"] if self.tps else []
        told += [f"{clock(self.left_s)} left"] if self.left_s is not None else []
        told += [f"validation loss {self.val_loss:.4f} (step {self.validated})"] if self.val_loss is not None else []
        return ", ".join([*told, *elapsed])


def rows(content: bytes, whole: bool) -> list[dict[str, Any]]:
    """Training steps and validations of the end of a metrics.jsonl; its first line may be cut, unless it is `whole`."""
    lines = content.split(b"\n")
    found = (parse(line) for line in (lines if whole else lines[1:]))
    return [row for row in found if row and is_whole(row.get("step")) and is_number(row.get("time"))]


def steps(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training steps of them."""
    return [row for row in found if "loss" in row]


def of(record: Record, status: Status, found: Sequence[dict[str, Any]], now: float) -> Speed:
    """The pace of a job whose metrics end with these rows; `now` and its times are unix seconds."""
    trained = strays.without(steps(found), status.started)
    last = trained[-1] if trained else {}
    step = last.get("step", status.step)
    done = None if step is None else step + 1
    seconds = step_seconds(trained[-WINDOW:])
    left = None
    if not status.over and record.max_steps and done is not None and seconds is not None:
        left = seconds * max(0, record.max_steps - done)
    validated = _validated(found, status.started)
    ended = status.ended if status.over else now
    begun = status.started
    elapsed = max(0.0, ended - begun) if ended is not None and begun is not None else None
    val = finite(validated.get("val_loss"))
    tps, loss = finite(last.get("tps")), finite(last.get("loss"))
    told = step, done, record.max_steps, loss, val, validated.get("step"), tps, seconds, left, elapsed
    return Speed(*told, is_logged=bool(trained))


def _validated(found: Sequence[dict[str, Any]], started: float | None) -> dict[str, Any]:
    """The last validation; the default one, where there are others beside it."""
    told = [row for row in found if finite(row.get("val_loss")) is not None and not contract.has_no_token(row)]
    default = [row for row in told if row.get("name") in (None, "default")]
    return (strays.without(default or told, started) or [{}])[-1]


def finite(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if is_number(value) and math.isfinite(value) else None
