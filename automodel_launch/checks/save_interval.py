"""How often a run saves, where its own earlier jobs have measured what a save, a step and a restart take."""

from __future__ import annotations

import math
from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.backends import Checkpoints
from automodel_launch.plan.describe import describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results
from automodel_launch.report import cadence, measured
from automodel_launch.report.measured import Measured

_WORTH = 0.03  # of all time; by less the formula and what it is fed with are not known better
_WORTH_HOURS = 10.0  # of GPUs, over the rest of the run
_LONG = 5  # intervals that are left: a run that is soon over saves once or twice, whatever the formula says
_FEW = 2  # failures from which on the run's own history is enough
_STAGING = 0.1  # of a save, which asynchronous saving leaves for the steps to wait for: an assumption


def here(plan: Plan) -> Iterator[Finding]:
    """Of a run whose files this machine sees."""
    if plan.visible and _wanted(plan):
        yield from findings(plan, measured.here(plan.run_dir, plan.place))


def asked(plan: Plan) -> dict[str, str]:
    """A question to the cluster, where only that sees them."""
    return {"measured": measured.question(plan.run_dir)} if not plan.visible and _wanted(plan) else {}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answer."""
    if asked(plan):
        yield from findings(plan, measured.answered(answers["measured"].text))


def _wanted(plan: Plan) -> bool:
    """A run that saves, and whose saves hold the steps up; how long another one's do was not measured."""
    found = backends.of(plan.recipe).checkpoints(plan)
    return found is not None and not found.asynchronous


def findings(plan: Plan, known: Measured | None) -> Iterator[Finding]:
    """Another interval, and saving in the background, where either is worth it."""
    checkpoints = backends.of(plan.recipe).checkpoints(plan)
    left = checkpoints.steps - known.step - 1 if checkpoints and known else 0
    if checkpoints is None or known is None or left < 1:
        return
    failing = cadence.mtbf(plan.world_size, known.failures, known.trained_s)
    now = checkpoints.every or checkpoints.steps
    best = cadence.best(known.save_s, failing) / known.step_s
    if left < _LONG * best:
        return
    steps = _rounded(best, left)
    cases = [failing] if known.failures >= _FEW else [failing, failing * cadence.UNSURE]
    losses = [[_loss(known, every, case) for every in (now, steps)] for case in cases]
    if all(_is_worth(plan, known, left, before, after) for before, after in losses):
        yield _another_interval(plan, checkpoints, known, failing, steps, losses[0])
    if checkpoints.async_key and (plan.profile.gpu or plan.profile.gpus_per_node):
        quick = known.save_s * _STAGING
        every = _rounded(cadence.best(quick, failing) / known.step_s, left)
        saved = [(min(loss), _loss(known, every, case, quick)) for loss, case in zip(losses, cases, strict=True)]
        if all(_is_worth(plan, known, left, before, after) for before, after in saved):
            yield _in_the_background(checkpoints, plan, known, saved[0])


def _another_interval(
    plan: Plan, checkpoints: Checkpoints, known: Measured, failing: float, steps: int, losses: list[float]
) -> Finding:
    key = checkpoints.every_key
    message = (
        f"{describe(plan, key)}: {losses[0]:.0%} of the time would go into saves, lost steps and restarts, and"
        f" {losses[1]:.0%} with a checkpoint every {steps:,} steps. {_measured(known)}, and a failure is to be expected"
        f" once in {_duration(failing)} ({known.failures} so far)."
    )
    return Finding("note", "save-interval", message, override(plan, key, steps))


def _in_the_background(checkpoints: Checkpoints, plan: Plan, known: Measured, losses: tuple[float, float]) -> Finding:
    key = str(checkpoints.async_key)
    message = (
        f"{describe(plan, key)}: {losses[0]:.0%} of the time would go into saves, lost steps and restarts even at the"
        f" best interval, and about {losses[1]:.0%} if saves were written while the steps go on. {_measured(known)}."
    )
    return Finding("note", "async-save", message, override(plan, key, "true"))


def _measured(known: Measured) -> str:
    return f"A save took {known.save_s:.3g} s, a step {known.step_s:.3g} s and a start {known.restart_s:.3g} s so far"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.3g} h" if seconds >= 3600 else f"{seconds / 60:.3g} min"


def _loss(known: Measured, steps: int, failing: float, save: float | None = None) -> float:
    return cadence.wasted(steps * known.step_s, known.save_s if save is None else save, known.restart_s, failing)


def _is_worth(plan: Plan, known: Measured, left: int, before: float, after: float) -> bool:
    """Whether the second share lost is so much less than the first that a person should be told."""
    hours = left * known.step_s * plan.world_size / 3600
    gained = hours * (_overhead(before) - _overhead(after))
    return before - after >= _WORTH and gained >= _WORTH_HOURS


def _overhead(share: float) -> float:
    return share / max(1e-6, 1.0 - share)


def _rounded(steps: float, most: int) -> int:
    """Two digits of it: more are not known."""
    whole = max(1, round(steps))
    digits = max(0, int(math.log10(whole)) - 1)
    return min(most, round(whole, -digits))


CHECKS = (here,)
