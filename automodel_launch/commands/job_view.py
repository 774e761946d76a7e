"""What `status` says of a job, as lines; in `status -w` they fill a screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from automodel_launch import contract
from automodel_launch.commands import console, spark
from automodel_launch.jobs import history, records
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import speed, state
from automodel_launch.launch.closing import without_label
from automodel_launch.launch.glance import Glance
from automodel_launch.launch.progress import clock, waiting

_LABEL = 10  # columns before a curve's number
_ATTEMPTS, _WARNINGS = 5, 3


@dataclass(frozen=True)
class Screen:
    """Columns and rows to fill, and whether block characters can be written."""

    columns: int = 80
    rows: int = 24
    blocks: bool = True


def told(record: Record, status: Status, seen: Glance) -> Iterator[str]:
    """How far it is, and what was launched."""
    for words in (seen.speed.words(status.over), seen.slow_rank.text if seen.slow_rank else None):
        if words:
            yield from console.hanging("  ", words, indent="    ")
    yield f"  launched: {seen.launched.command}"
    where = [f"on {record.profile}"]
    if seen.launched.nodes and seen.launched.processes:
        nodes = console.many(seen.launched.nodes, "node")
        where.append(f"{nodes}, {console.many(seen.launched.processes, 'process', 'processes')}")
    where += [f"data: {console.listed(seen.launched.data, 2)}"] if seen.launched.data else []
    where += [f"commit {_commit(seen)}"] if seen.launched.commit else []
    yield f"  {'; '.join(where)}"


def advised(status: Status, seen: Glance | None) -> Status:
    """The same without the advice to resume a job of which nothing is left that could be."""
    refused = seen is not None and not seen.resumes and status.over and "resume" in (status.advice or "")
    return replace(status, advice=None) if refused else status


def _commit(seen: Glance) -> str:
    return f"{str(seen.launched.commit)[:12]}{' with changes' if seen.launched.changed else ''}"


def go_on(record: Record, status: Status, seen: Glance) -> str | None:
    """How to go on with a job that has ended before its run was finished; None where there is nothing to be said."""
    if not status.over or status.state in (contract.COMPLETED, records.NOT_SUBMITTED):
        return None
    if seen.attempts and seen.attempts[-1]["job_id"] != record.job_id:  # another job of the run has come after it
        return None
    if history.is_spent(seen.attempts, record.job_id):
        return "its GPU-hours are used up; the same launch with a higher max_gpu_hours goes on"
    saved = next((row["checkpoint"] for row in reversed(seen.attempts) if row.get("checkpoint") is not None), None)
    start = f", from its checkpoint of step {saved}" if saved is not None else ""
    if not seen.resumes:  # without a plan its overrides are not known any longer
        known = seen.launched.nodes is not None
        return f"launch it again{start}: {seen.launched.command}" if known else state.launch_again(record)
    resume = f"python launch.py resume {record.job_id}{start}"
    if status.state in (contract.FAILED, contract.OUT_OF_MEMORY):
        return f"{resume}, with the same code and config; after a change, launch it again"
    return resume


# --- a screen


def screen(record: Record, status: Status, seen: Glance, at: Screen) -> list[str]:
    """All of it, in at most so many lines of so many columns; what matters least is left out first."""
    lines = [*_head(record, status, seen, at), "", *_numbers(status, seen, at)]
    foot = ["", "Ctrl-C leaves" + ("" if status.over else "; the job goes on")]
    room = at.rows - len(lines) - len(foot)
    for heading, found, most in (
        ("attempts", history.table(seen.attempts), _ATTEMPTS),
        ("last warnings", [*seen.warnings, *([seen.slow_rank.text] if seen.slow_rank else [])], _WARNINGS),
    ):
        kept = found[-max(0, min(most, room - 2)) :] if room > 2 else []
        if kept:
            more = f" (the last {len(kept)} of {len(found)})" if len(kept) < len(found) else ""
            lines += ["", heading + more, *(f"  {line}" for line in kept)]
            room -= len(kept) + 2
    return [console.cut_end(line, at.columns) for line in lines + foot][: at.rows]


def _head(record: Record, status: Status, seen: Glance, at: Screen) -> Iterator[str]:
    where = f" on {console.listed(seen.nodes, 4)}" if seen.nodes else ""
    left = f"{record.job_id}  {status.state}{where}"
    now = time.strftime("%H:%M:%S")
    yield left.ljust(at.columns - len(now)) + now if len(left) + 2 + len(now) <= at.columns else left
    yield seen.launched.command
    advice = advised(status, seen).advice
    for label, text in (("error", without_label(status.error or "")), ("why", status.reason), ("what to do", advice)):
        if text:
            yield f"{label}: {text}"
    further = go_on(record, status, seen)
    if further:
        yield f"go on: {further}"


def _numbers(status: Status, seen: Glance, at: Screen) -> Iterator[str]:
    now = seen.speed
    if now.done is None:
        phase, seconds = seen.phase or (None, None)
        if status.state == contract.RUNNING:
            yield waiting(phase, seconds)
        yield from now.took(status.over)
        return
    total = f" of {now.max_steps}" if now.max_steps else ""
    times = [f"{clock(now.left_s)} left"] if now.left_s is not None else []
    times += now.took(status.over)
    text, time_text = f"step {now.done}{total}", "  ".join(times)
    room = at.columns - len(text) - len(time_text) - 11
    filled = f"  {spark.bar(now.share, min(30, room), at.blocks)} {now.share:4.0%}" if now.share and room > 4 else ""
    if len(text) + 2 + len(time_text) > at.columns:
        yield from (text, time_text)
    else:
        yield f"{text}{filled}  {time_text}"
    for label, key, form in (("loss", "loss", "{:.4f}"), ("tokens/s", "tps", "{:,.0f}")):
        values = [speed.finite(step.get(key)) for step in seen.steps]
        if values and any(value is not None for value in values):
            last = "nan" if values[-1] is None else form.format(values[-1])
            curve = spark.line(values, at.columns - _LABEL - 12, at.blocks)
            yield f"{label:<{_LABEL}}{last:>10}  {curve}".rstrip()
    if now.val_loss is not None:
        yield f"{'validation':<{_LABEL}}{now.val_loss:>10.4f}  at step {now.validated}"
    if seen.phase and not status.over:
        phase, seconds = seen.phase
        yield f"now: {phase}{f', {seconds:.0f} s' if seconds is not None else ''}"


def change(status: Status, seen: Glance | None) -> tuple[str, str]:
    """(what makes it news, the line that tells it), for a stream that is no terminal."""
    now = seen.speed if seen else None
    phase = seen.phase[0] if seen and seen.phase and (not now or now.done is None) else ""
    words = now.words(status.over) if now and now.done is not None else ""
    reason = (status.reason or status.error or "").partition(", estimated start ")[0]
    news = f"{status.state}|{phase}|{now.done if now else ''}|{reason}"
    told = "; ".join(filter(None, [words, phase, reason]))
    return news, f"{time.strftime('%H:%M:%S')} {status.state}{f'  {told}' if told else ''}"
