"""Several runs as the data of a page: curves, attempts, cost, checkpoints, plans, and what differs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.report import curves, differences, goodput, joining
from automodel_launch.report.columns import Columns
from automodel_launch.report.joining import Attempt, Joined
from automodel_launch.report.reading import Json, RunFiles

CHARTS = ("loss", "tps", "grad_norm", "lr", "mem_gib")
_TOKENS = "num_label_tokens"  # of a step, where the backend logs it


@dataclass
class View:
    """A run's files with what they do not hold: its state now, and the commit behind each job's code."""

    files: RunFiles
    state: str
    commits: dict[str, str] = field(default_factory=dict)


def document(views: Sequence[View], now: float) -> Json:
    """All that the page shows, as JSON data without NaN; times are unix seconds."""
    runs = [_run(view, now) for view in views]
    columns = [differences.facts(*_last_plan(view)) for view in views]
    return {"schema": 1, "made": now, "runs": runs, "differences": differences.rows(columns) if len(runs) > 1 else []}


def _last_plan(view: View) -> tuple[Json, str]:
    job = view.files.jobs[-1]
    return job.plan, view.commits.get(job.job_id, "")


def _run(view: View, now: float) -> Json:
    files, joined = view.files, joining.join(view.files)
    spent = goodput.of(files, joined, now)
    plan, commit = _last_plan(view)
    record = files.record
    kept = joined.kept()
    return {
        "name": files.name,
        "state": view.state,
        "job_id": record.job_id,
        "max_steps": record.max_steps,
        "began": _began(joined),
        "rows": len(kept),
        "last": joined.steps.row(kept[-1]) if kept else {},
        "not_finite": _not_finite(joined, kept),
        "curves": {name: list(_curves(joined, kept, name)) for name in CHARTS},
        "attempts": [_attempt(joined, each) for each in spent.attempts],
        "goodput": spent.document(),
        "checkpoints": files.checkpoints,
        "plan": _plan(plan, commit, view),
        "changes": list(_changes(view)),
    }


def _began(joined: Joined) -> float | None:
    """When its first attempt did, else the first line that was logged."""
    lines = [columns["time"][0] for columns in (joined.steps, *joined.validations.values()) if columns.rows]
    return joined.attempts[0].began if joined.attempts else min(lines, default=None)


def _not_finite(joined: Joined, kept: list[int]) -> Json:
    """Steps whose loss was no finite number."""
    steps = [int(joined.steps["step"][row]) for row in kept if math.isnan(joined.steps["loss"][row])]
    return {"count": len(steps), "first": steps[:5]}


# --- curves


def _curves(joined: Joined, kept: list[int], name: str) -> Iterator[Json]:
    tokens = _tokens(joined.steps, kept)
    column = joined.steps[name]
    finite = [index for index, row in enumerate(kept) if not math.isnan(column[row])]
    values = [column[kept[index]] for index in finite]
    if name != "mem_gib" or any(values):  # a CPU's memory is logged as zero
        yield from _lines(joined.steps, kept, finite, values, tokens, smooth=name == "loss")
    if name == "loss":
        for validation in joined.validations:
            yield _validation(joined, kept, validation, tokens)


def _lines(
    steps: Columns, kept: list[int], finite: list[int], values: list[float], tokens: list[float] | None, smooth: bool
) -> Iterator[Json]:
    if not values:
        return
    x = [steps["step"][kept[index]] for index in finite]
    kinds = {"raw": values, **({"smooth": curves.smoothed(values)} if smooth and len(values) > 2 else {})}
    for kind, y in kinds.items():
        shown = curves.thinned(x, y)
        yield {
            "kind": kind,
            "label": "",
            "step": [int(x[point]) for point in shown],
            "time": [steps["time"][kept[finite[point]]] for point in shown],
            "tokens": [tokens[finite[point]] for point in shown] if tokens else None,
            "value": [y[point] for point in shown],
        }


def _validation(joined: Joined, kept: list[int], name: str, tokens: list[float] | None) -> Json:
    columns = joined.validations[name]
    rows = [row for row in joined.last_validations(name) if not math.isnan(columns["val_loss"][row])]
    x, y = [columns["step"][row] for row in rows], [columns["val_loss"][row] for row in rows]
    shown = curves.thinned(x, y)
    until = {int(joined.steps["step"][row]): tokens[index] for index, row in enumerate(kept)} if tokens else {}
    return {
        "kind": "validation",
        "label": "" if name == "default" else name,
        "step": [int(x[point]) for point in shown],
        "time": [columns["time"][rows[point]] for point in shown],
        "tokens": [until.get(int(x[point])) for point in shown] if tokens else None,
        "value": [y[point] for point in shown],
    }


def _tokens(steps: Columns, kept: list[int]) -> list[float] | None:
    """Tokens up to each step that counts; None where they were not logged."""
    if _TOKENS not in steps.names:
        return None
    total, found = 0.0, []
    for row in kept:
        number = steps[_TOKENS][row]
        total += 0.0 if math.isnan(number) else number
        found.append(total)
    return found


# --- attempts


def _attempt(joined: Joined, spent: goodput.Spent) -> Json:
    attempt, row = spent.attempt, spent.attempt.row
    return {
        "job_id": attempt.job_id,
        "number": attempt.number + 1,
        "slurm_id": row.get("slurm_id") or None,
        "submitted": attempt.submitted,
        "began": attempt.began,
        "ended": attempt.ended,
        "seen": spent.ended,
        "state": row.get("state"),
        "why": _why(row),
        "nodes": row.get("nodes") or [],
        "node": row.get("node"),
        "from_step": row.get("from_step"),
        "to_step": row.get("to_step"),
        "checkpoint": row.get("checkpoint"),
        "segments": [dict(zip(("kind", "start", "end"), part, strict=True)) for part in _segments(joined, spent)],
    }


def _why(row: Mapping[str, Any]) -> str | None:
    """How an attempt ended and what followed, with what a known error means."""
    why, cause = row.get("why") or row.get("error"), row.get("cause")
    if isinstance(why, str) and why and isinstance(cause, str) and cause not in why:
        return f"{why} ({cause})"
    return why


def _segments(joined: Joined, spent: goodput.Spent) -> Iterator[tuple[str, float, float]]:
    """What the attempt did from when to when; saves and validations lie over the steps."""
    attempt, times = spent.attempt, joined.steps["time"]
    if attempt.submitted is not None and attempt.submitted < attempt.began:
        yield "queued", attempt.submitted, attempt.began
    first = times[attempt.rows[0]] if attempt.rows else spent.ended
    yield "startup", attempt.began, first
    if not attempt.rows:
        return
    yield from _steps(joined, attempt)
    last = times[attempt.rows[-1]]
    if spent.ended > last:
        yield "idle", last, spent.ended
    for kind, phase in (("validation", contract.PHASE_VALIDATION), ("saving", contract.PHASE_SAVING)):
        yield from ((kind, start, end) for start, end in attempt.pauses.get(phase, ()))


def _steps(joined: Joined, attempt: Attempt) -> Iterator[tuple[str, float, float]]:
    """Stretches of steps that count, and of those that were done again."""
    times, start = joined.steps["time"], joined.steps["time"][attempt.rows[0]]
    for row in attempt.rows:
        following = row + 1
        if following not in attempt.rows or joined.counts[following] != joined.counts[row]:
            yield "steps" if joined.counts[row] else "lost_steps", start, times[row]
            start = times[row]


# --- plans


def _plan(plan: Json, commit: str, view: View) -> Json:
    """What, where, and with which code."""
    keys = ("recipe", "config_name", "profile", "executor", "nodes", "processes_per_node", "world_size", "mode")
    found: dict[str, Any] = {key: plan.get(key) for key in (*keys, "container_image", "command", "plan_hash")}
    return {
        **found,
        "run_dir": view.files.record.run_dir,
        "commit": commit or None,
        "overrides": differences.overridden(plan),
        "config": differences.facts({"config": plan.get("config")}),
    }


def _changes(view: View) -> Iterator[Json]:
    """What each job of the run has that the one before has not."""
    jobs = view.files.jobs
    for before, job in itertools.pairwise(jobs):
        columns = [differences.facts(each.plan, view.commits.get(each.job_id, "")) for each in (before, job)]
        rows = differences.rows(columns) if before.plan and job.plan else []
        yield {"from": before.job_id, "to": job.job_id, "rows": rows}
