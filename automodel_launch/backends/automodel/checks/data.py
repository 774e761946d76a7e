"""Checks of files that a config names, from one probe a plan: on this machine, or by a question to the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel.checks.blends import splits
from automodel_launch.backends.automodel.checks.directories import writable
from automodel_launch.backends.automodel.checks.ids import context, vocabulary, width
from automodel_launch.backends.automodel.checks.nanogpt import completely_read, enough
from automodel_launch.backends.automodel.checks.schedule import epochs
from automodel_launch.backends.automodel.checks.shards import bos, megatron, nanogpt
from automodel_launch.backends.automodel.checks.tokenizers import folders, of_the_data
from automodel_launch.backends.automodel.data import request
from automodel_launch.backends.data import facts
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Results

OF_FACTS: tuple[facts.Check, ...] = (
    *(megatron, nanogpt, bos, splits, enough, completely_read, epochs),
    *(vocabulary, width, context),
    *(folders, of_the_data, writable),
)


def here(plan: Plan) -> Iterator[Finding]:
    """Where this machine sees the job's files."""
    return facts.judged_here(plan, request.of(plan), OF_FACTS)


def questions(plan: Plan) -> dict[str, str]:
    """The probe as a question to a cluster whose files this machine does not see."""
    return {} if plan.visible else facts.questions(plan, request.of(plan))


def judge(plan: Plan, results: Results) -> Iterator[Finding]:
    """Findings from the answer."""
    return facts.judged_there(plan, request.of(plan), OF_FACTS, results)


CHECKS = (here,)
