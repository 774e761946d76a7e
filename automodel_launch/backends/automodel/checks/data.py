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
from automodel_launch.backends.automodel.data import facts
from automodel_launch.backends.automodel.data.facts import DataFacts
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
        yield from _judged(plan, facts.here(plan))


def questions(plan: Plan) -> dict[str, str]:
    """The probe as a question to a cluster whose files this machine does not see."""
    question = None if plan.visible else facts.question(plan)
    return {"data": question} if question else {}


def judge(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answer."""
    if plan.visible:
        return
    known: DataFacts | str = DataFacts({}, plan.config, False)
    if facts.too_much(plan):
        known = "the config names more files than can be asked for at once; a blend.json can name any number"
    elif facts.question(plan):
        known = facts.read(plan, answers["data"])
    if isinstance(known, str):
        message = f"the data and directories on the cluster were not looked at: {known}."
        yield Finding("note", "not-looked-at", message)
        known = DataFacts({}, plan.config, False)
    yield from _judged(plan, known)


def _judged(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    for check in OF_FACTS:
        yield from check(plan, data)


CHECKS = (here,)
