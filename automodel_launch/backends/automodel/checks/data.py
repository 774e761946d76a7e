"""Checks of files that a config names, from one probe a plan: on this machine, or by a question to the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch.backends.automodel.checks.blends import splits
from automodel_launch.backends.automodel.checks.directories import writable
from automodel_launch.backends.automodel.checks.ids import context, vocabulary, width
from automodel_launch.backends.automodel.checks.nanogpt import completely_read, enough
from automodel_launch.backends.automodel.checks.schedule import epochs
from automodel_launch.backends.automodel.checks.shards import bos, megatron, nanogpt
from automodel_launch.backends.automodel.checks.tokenizers import folders, of_the_data
from automodel_launch.backends.automodel.data import request
from automodel_launch.backends.data import facts
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

OF_FACTS: tuple[Callable[[Plan, DataFacts], Iterator[Finding]], ...] = (
    *(megatron, nanogpt, bos, splits, enough, completely_read, epochs),
    *(vocabulary, width, context),
    *(folders, of_the_data, writable),
)


def here(plan: Plan) -> Iterator[Finding]:
    """Where this machine sees the job's files."""
    if plan.visible:
        yield from _judged(plan, facts.here(plan, request.of(plan)))


def questions(plan: Plan) -> dict[str, str]:
    """The probe as a question to a cluster whose files this machine does not see."""
    return {} if plan.visible else facts.questions(plan, request.of(plan))


def judge(plan: Plan, results: Results) -> Iterator[Finding]:
    """Findings from the answer."""
    if not plan.visible:
        data, unanswered = facts.answered(plan, request.of(plan), results)
        if unanswered:
            yield unanswered
        yield from _judged(plan, data)


def _judged(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    for check in OF_FACTS:
        yield from check(plan, data)


CHECKS = (here,)
