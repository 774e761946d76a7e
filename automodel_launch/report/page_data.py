"""Several runs as the data of a page: curves, attempts, cost, checkpoints, plans, and what differs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.report import differences, goodput, joining, page_curves, rank_times, utilization
from automodel_launch.report.joining import Attempt, Joined
from automodel_launch.report.reading import JobFiles, Json, RunFiles


@dataclass
class View:
    """A run's files with what they do not hold: its state now, and the commit behind each job's code."""

    files: RunFiles
    state: str
    commits: dict[str, str] = field(default_factory=dict)
    label: str = ""  # what is said in place of its name: a sweep's point by what it sets
    phases: Sequence[tuple[str, int, int]] = ()  # of its data: name, first and last step


def document(views: Sequence[View], now: float, again_s: float | None = None, title: str | None = None) -> Json:
    """All that the page shows, as JSON data without NaN; times are unix seconds.

    `again_s`: it is written again that many seconds later, and a browser that shows it looks then. `title`: of all
    runs together, the name of a sweep or a pipeline.
    """
    runs = [_run(view, now) for view in views]
    columns = [differences.facts(*_last_plan(view)) for view in views]
    found = differences.rows(columns) if len(runs) > 1 else []
    return {"schema": 1, "made": now, "again_s": again_s, "title": title, "runs": runs, "differences": found}


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
        "label": view.label or None,
        "job_id": record.job_id,
        "max_steps": record.max_steps,
        "began": _began(joined),
        "rows": len(kept),
        "last": joined.steps.row(kept[-1]) if kept else {},
        "not_finite": page_curves.not_finite(joined, kept),
        "curves": page_curves.of(joined, kept, files.evaluations),
        "gpu": utilization.described(files.jobs[-1]),
        "attempts": [_attempt(joined, each) for each in spent.attempts],
        "goodput": spent.document(),
        "rank_times": rank_times.table(files),
        "checkpoints": files.checkpoints,
        "evaluations": files.evaluations,
        "phases": [dict(zip(("name", "first", "last"), phase, strict=True)) for phase in view.phases],
        "plan": _plan(plan, commit, view),
        "findings": list(_findings(files.jobs[-1])),
        "changes": list(_changes(view)),
    }


def _began(joined: Joined) -> float | None:
    """When its first attempt did, else the first line that was logged."""
    lines = [columns["time"][0] for columns in (joined.steps, *joined.validations.values()) if columns.rows]
    return joined.attempts[0].began if joined.attempts else min(lines, default=None)


def _findings(job: JobFiles) -> Iterator[Json]:
    """What the checks had found when the job was submitted."""
    told = job.notes.get("findings")
    for finding in told if isinstance(told, list) else ():
        if isinstance(finding, dict):
            yield {key: str(finding.get(key) or "") for key in ("level", "code", "message", "fix")}


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
    if attempt.submitted is not None and attempt.submitted < attempt.allocated:
        yield "queued", attempt.submitted, attempt.allocated
    first = times[attempt.rows[0]] if attempt.rows else spent.ended
    yield "work" if spent.parts["work"] else "startup", attempt.allocated, first
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
