"""Findings that need the place where the job will run to be asked; the module that asks has the executor's name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.util import find_spec

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def findings(plan: Plan) -> Iterator[Finding]:
    """What the place says to the plan; nothing where nothing has to be asked there."""
    module = f"{__name__}.{plan.executor}"
    if find_spec(module) is not None:
        yield from importlib.import_module(module).findings(plan)
