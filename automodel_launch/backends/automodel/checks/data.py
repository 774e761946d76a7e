"""The data and what is loaded with them, looked at once a plan where they lie: here, or by asking the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch.backends.automodel.checks.blends import splits
from automodel_launch.backends.automodel.checks.ids import context, vocabulary, width
from automodel_launch.backends.automodel.checks.nanogpt import enough, read_whole
from automodel_launch.backends.automodel.checks.schedule import epochs
from automodel_launch.backends.automodel.checks.shards import bos, megatron, nanogpt
from automodel_launch.backends.automodel.checks.tokenizers import folders, of_the_data
from automodel_launch.backends.automodel.data import facts
from automodel_launch.backends.automodel.data.facts import Found
from automodel_launch.checks.directories import writable
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

LOOKED: tuple[Callable[[Plan, Found], Iterator[Finding]], ...] = (
    *(megatron, nanogpt, bos, splits, enough, read_whole, epochs),
    *(vocabulary, width, context),
    *(folders, of_the_data, writable),
)


def here(plan: Plan) -> Iterator[Finding]:
    """Where this machine sees the job's files."""
    if plan.visible:
        yield from _judged(plan, facts.here(plan))


def asked(plan: Plan) -> dict[str, str]:
    """The question to a cluster whose files are not seen here, for the round trip that the others take, too."""
    question = None if plan.visible else facts.question(plan)
    return {"data": question} if question else {}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answer."""
    if plan.visible:
        return
    looked: Found | str = Found({}, plan.config, False)
    if facts.too_much(plan):
        looked = "the config names more files than can be asked for at once; a blend.json can name any number"
    elif facts.question(plan):
        looked = facts.read(plan, answers["data"])
    if isinstance(looked, str):
        message = f"the data and directories on the cluster were not looked at: {looked}."
        yield Finding("note", "not-looked-at", message)
        looked = Found({}, plan.config, False)
    yield from _judged(plan, looked)


def _judged(plan: Plan, looked: Found) -> Iterator[Finding]:
    for check in LOOKED:
        yield from check(plan, looked)


CHECKS = (here,)
