"""Of all the GPU time that a run has had: the share in steps that were kept, and where the rest went.

Every second of an attempt is in exactly one part, by the times of its records alone:

    startup     from when it got its nodes to its first step, and again where ranks were restarted within it
    validation, saving   the phases of those names; untold, a validation is the time up to its line
    steps       what remains up to each step's line, of steps that count
    lost_steps  the same of steps that were done again later, or that an ended run has no checkpoint of
    idle        from the last line to the end: a hang, a step that was cut short, the way to the time limit
    spare       what nodes have waited that were allocated in case one that trains is lost (`spares`)
    work        all of an attempt of a script that logs no steps (data-prep, say): it has no goodput
    outside     what Slurm had allocated beyond the attempt's own beginning and end, where only its GPU-hours tell

The first step of an attempt counts with the attempt's median; what that leaves of the time before it is start-up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import contract
from automodel_launch.jobs.records import is_number, is_whole
from automodel_launch.report.intervals import Interval, Union
from automodel_launch.report.joining import Attempt, Joined
from automodel_launch.report.reading import RunFiles

PARTS = ("steps", "lost_steps", "startup", "validation", "saving", "idle", "spare", "work", "outside")
UNTOLD = "not told"  # of start-up: in no phase


@dataclass
class Spent:
    """Seconds of one attempt by part, of its start-up by phase; `devices`: GPUs, or processes where there are none,
    which `unit` tells.

    `ended` is its end, or until when it was looked at. `startup_s`: of the clock, of each phase of its start that is
    over, in their order; `startup` is without the share of spare nodes, and has what is told of no phase.
    """

    attempt: Attempt
    devices: int
    unit: str
    ended: float
    parts: dict[str, float]
    startup: dict[str, float] = field(default_factory=dict)
    startup_s: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of its allocation."""
        return sum(self.parts.values())


@dataclass
class Goodput:
    """A run's attempts; `unit` is what an hour is of, "GPU" or "process"."""

    attempts: list[Spent]
    unit: str
    queued_s: float

    def hours(self, part: str | None = None) -> float:
        """Device-hours, of one part or of all."""
        return sum((each.seconds if part is None else each.parts[part]) * each.devices for each in self.attempts) / 3600

    def startup_hours(self) -> dict[str, float]:
        """Device-hours of start-up by phase, the longest first."""
        total: dict[str, float] = {}
        for each in self.attempts:
            for phase, seconds in each.startup.items():
                total[phase] = total.get(phase, 0.0) + seconds * each.devices / 3600
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    @property
    def share(self) -> float | None:
        """Of all time the part in steps that were kept; None before there was any, for scripts without steps, and where
        the steps of an attempt are not in its job's directory any more.
        """
        if any(is_whole(each.attempt.row.get("to_step")) and not each.attempt.rows for each in self.attempts):
            return None
        if self.hours("work") > 0 and not self.hours("steps") + self.hours("lost_steps"):
            return None
        return self.hours("steps") / self.hours() if self.hours() > 0 else None

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "goodput": self.share,
            "unit": self.unit,
            "hours": self.hours(),
            "parts": {part: self.hours(part) for part in PARTS},
            "startup": self.startup_hours(),
            "queued_s": self.queued_s,
        }


def of(files: RunFiles, joined: Joined, now: float) -> Goodput:
    """Account for every attempt; one that runs counts until `now`, one that died without a word until its last sign."""
    saved = _lost_behind(files, joined)
    spent = [_spent(joined, attempt, now, saved) for attempt in joined.attempts]
    return Goodput(spent, "GPU" if {each.unit for each in spent} == {"GPU"} else "process", _queued(spent))


def _lost_behind(files: RunFiles, joined: Joined) -> float:
    """The step behind which an ended run has lost what it did, in steps that nobody did again; infinity: none."""
    last = joined.attempts[-1] if joined.attempts else None
    if last is None or last.row.get("state") in (None, contract.COMPLETED) or files.finished:
        return math.inf
    saved = last.row.get("checkpoint")
    if saved is None and not last.job.order.get("checkpoint_dir"):
        return math.inf  # what it saves, and whether, is not known
    return float(saved) if is_whole(saved) else -1.0


def _spent(joined: Joined, attempt: Attempt, now: float, saved: float) -> Spent:
    import statistics  # which imports random and decimal

    ended = attempt.ended or _open_end(joined, attempt, now)
    parts, startup = dict.fromkeys(PARTS, 0.0), dict[str, float]()
    times, steps = joined.steps["time"], joined.steps["step"]
    gaps = [times[row] - times[row - 1] for row in attempt.rows[1:] if steps[row] > steps[row - 1]]
    usual = statistics.median(gaps) if gaps else 0.0
    told = {name: Union(spans) for name, spans in attempt.pauses.items()}
    saving = told.get(contract.PHASE_SAVING, Union(_of_log(attempt.saves_of_log, usual)))
    validation = told.get(contract.PHASE_VALIDATION, Union(_validations(joined, attempt, ended))).without(saving)
    start = attempt.allocated
    for row in attempt.rows:
        first, end = row == attempt.rows[0], min(max(times[row], start), ended)
        if first or steps[row] <= steps[row - 1]:
            begun = max(start, end - usual)
            parts["startup"] += begun - start
            _by_phase(startup, told, start, begun)
            start = begun
        paused = saving.between(start, end), validation.between(start, end)
        parts["saving"], parts["validation"] = parts["saving"] + paused[0], parts["validation"] + paused[1]
        kept = joined.counts[row] and steps[row] <= saved
        parts["steps" if kept else "lost_steps"] += max(0.0, end - start - sum(paused))
        start = end
    rest = saving.between(start, ended), validation.between(start, ended)
    parts["saving"], parts["validation"] = parts["saving"] + rest[0], parts["validation"] + rest[1]
    before = "work" if attempt.job.order.get("backend") in contract.STEPLESS else "startup"
    parts["idle" if attempt.rows else before] += max(0.0, ended - start - sum(rest))
    if not attempt.rows and before == "startup":
        _by_phase(startup, told, start, ended)
    phases = sorted(told, key=lambda phase: attempt.pauses[phase][0])
    startup_s = {phase: startup[phase] for phase in phases if phase in startup}
    devices, unit = _devices(attempt)
    _set_spares_aside(attempt, unit, parts, startup)
    parts["outside"] = _outside(attempt, devices, ended)
    return Spent(attempt, devices, unit, ended, parts, startup, startup_s)


def _set_spares_aside(attempt: Attempt, unit: str, parts: dict[str, float], startup: dict[str, float]) -> None:
    """Of each second the share of the nodes that wait; processes there are none on those."""
    training, waiting = (len(attempt.row.get(key) or ()) for key in ("nodes", "spares"))
    if not waiting or unit != "GPU":
        return
    share = waiting / (training + waiting)
    parts["spare"] = share * sum(parts.values())
    for told in (parts, startup):
        told.update({name: seconds * (1 - share) for name, seconds in told.items() if name != "spare"})


def _open_end(joined: Joined, attempt: Attempt, now: float) -> float:
    """The end of an attempt that nobody has closed."""
    is_last = attempt is joined.attempts[-1]
    heartbeat = attempt.job.heartbeat
    beat = heartbeat.get("time") if heartbeat.get("attempt") == attempt.number else None
    alive = max(attempt.alive, beat) if is_number(beat) else attempt.alive
    return max(now, attempt.began) if is_last and not attempt.job.end else alive


def _by_phase(startup: dict[str, float], told: dict[str, Union], start: float, end: float) -> None:
    """Each second in one phase, though their times may overlap by the clocks of those who tell them."""
    left, seen = end - start, Union([])
    for phase, spans in told.items():
        seconds = spans.without(seen).between(start, end)
        seen = Union([*seen.parts, *spans.parts])
        if seconds > 0:
            startup[phase] = startup.get(phase, 0.0) + seconds
            left -= seconds
    if left > 1e-6:
        startup[UNTOLD] = startup.get(UNTOLD, 0.0) + left


def _of_log(saves: list[Interval], usual: float) -> Iterator[Interval]:
    """Saves that end with the next step's line: without that step."""
    return ((start, max(start, end - usual)) for start, end in saves)


def _validations(joined: Joined, attempt: Attempt, ended: float) -> Iterator[Interval]:
    """Of a training that tells no phases: from the line before each validation's to its own."""
    times = joined.steps["time"]
    own = [time for name in joined.validations for time in joined.validations[name]["time"]]
    lines = [(times[row], False) for row in attempt.rows]
    lines += [(time, True) for time in own if lines and lines[0][0] <= time <= ended]
    lines.sort()
    for (before, _), (time, is_validation) in itertools.pairwise(lines):
        if is_validation:
            yield before, time


def _outside(attempt: Attempt, devices: int, ended: float) -> float:
    """Seconds that Slurm counts beyond the attempt's; below one second it is the rounding of its GPU-hours."""
    hours = attempt.row.get("gpu_hours")
    if not is_number(hours) or devices <= 0 or is_number(attempt.row.get("allocated_s")):
        return 0.0
    beyond = hours * 3600 / devices - (ended - attempt.began)
    return beyond if beyond > 1.0 else 0.0


def _devices(attempt: Attempt) -> tuple[int, str]:
    """GPUs that were allocated, else processes; and which of the two it is.

    Where nobody allocates (the attempt has no id in a queue), `gpus_per_node` may be a default without a GPU behind it.
    """
    if is_whole(attempt.row.get("gpus")):
        return attempt.row["gpus"], "GPU"
    plan = attempt.job.plan
    profile, nodes, world = (plan.get(key) for key in ("profile_values", "nodes", "world_size"))
    gpus = profile.get("gpus_per_node") if isinstance(profile, dict) else None
    if "spares" in attempt.row:  # of whom a lost one is no longer the job's
        nodes = len(attempt.row["nodes"]) + len(attempt.row["spares"])
    if attempt.row.get("slurm_id") and is_whole(gpus) and gpus > 0:
        return gpus * (nodes if is_whole(nodes) else 1), "GPU"
    return world if is_whole(world) and world > 0 else 1, "process"


def _queued(spent: list[Spent]) -> float:
    """Seconds in which the run waited for nodes: from its submission to its first attempt, and between attempts of one
    job. Where nobody was to make the next one, until a person resumed it, the run did not wait.
    """
    total = 0.0
    for index, each in enumerate(spent):
        if each.attempt.submitted is not None:
            total += max(0.0, each.attempt.allocated - each.attempt.submitted)
        elif index and _goes_on(spent[index - 1].attempt, each.attempt):
            total += max(0.0, each.attempt.allocated - spent[index - 1].ended)
    return total


def _goes_on(before: Attempt, attempt: Attempt) -> bool:
    queued = before.job_id == attempt.job_id and attempt.row.get("slurm_id")
    return bool(queued) and before.row.get("goes_on") is not False
