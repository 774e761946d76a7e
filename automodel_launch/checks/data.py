"""The data and what is loaded with them, looked at once a plan where they lie: here, or by asking the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from automodel_launch import found
from automodel_launch.checks.blends import splits
from automodel_launch.checks.directories import writable
from automodel_launch.checks.finding import Finding
from automodel_launch.checks.ids import context, vocabulary, width
from automodel_launch.checks.nanogpt import enough, read_whole
from automodel_launch.checks.schedule import epochs
from automodel_launch.checks.shards import bos, megatron, nanogpt
from automodel_launch.checks.tokenizers import folders, of_the_data
from automodel_launch.found import Found
from automodel_launch.plan import Plan
from automodel_launch.questions import Answers

LOOKED: tuple[Callable[[Plan, Found], Iterator[Finding]], ...] = (
    *(megatron, nanogpt, bos, splits, enough, read_whole, epochs),
    *(vocabulary, width, context),
    *(folders, of_the_data, writable),
)


def here(plan: Plan) -> Iterator[Finding]:
    """Where this machine sees the job's files."""
    if plan.visible:
        yield from _judged(plan, found.here(plan))


def asked(plan: Plan) -> dict[str, str]:
    """The question to a cluster whose files are not seen here, for the round trip that the others take, too."""
    question = None if plan.visible else found.question(plan)
    return {"data": question} if question else {}


def answered(plan: Plan, answers: Answers) -> Iterator[Finding]:
    """Findings from the answer."""
    if plan.visible:
        return
    looked: Found | str = Found({}, plan.config, False)
    if found.too_much(plan):
        looked = "the config names more files than can be asked for at once; a blend.json can name any number"
    elif found.question(plan):
        looked = found.read(plan, answers["data"])
    if isinstance(looked, str):
        message = f"the data and directories on the cluster were not looked at: {looked}."
        yield Finding("note", "not-looked-at", message)
        looked = Found({}, plan.config, False)
    yield from _judged(plan, looked)


def _judged(plan: Plan, looked: Found) -> Iterator[Finding]:
    for check in LOOKED:
        yield from check(plan, looked)


CHECKS = (here,)
