"""Plan -> what recipes/rehearse.py reads on its standard input, and what stands for it in the cache."""

from __future__ import annotations

from typing import Any

from automodel_launch.backends import Rehearsal
from automodel_launch.config import yamlio
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import hidden
from automodel_launch.profile.secret_names import is_secret
from automodel_launch.rehearsal.wanted import Wanted
from automodel_launch.remote import gpus

SCHEMA = 1
BYTES = 8 * 2**30  # memory that it may take


def of(plan: Plan, backend: Rehearsal, wanted: Wanted, own: bool, code: str) -> dict[str, Any]:
    """The request. `own`: it is the job's own Python that answers; `code`: the directory with what travels.

    No value of a secret is in it: a plan has none, and variables that may hold one are left out.
    """
    return {
        "schema": SCHEMA,
        "script": plan.recipe.path.name,
        "config": yamlio.json_value(plan.config, strict=False),
        "base": yamlio.json_value(plan.base, strict=False) if plan.overrides and plan.base is not None else None,
        "overrides": [text.removeprefix("--") for text in plan.overrides],
        "env": _variables(plan, backend),
        "secrets": sorted({*plan.profile.secrets, *filter(is_secret, plan.deferred)}),
        "world_size": plan.world_size,
        "processes_per_node": plan.processes_per_node,
        "memory": wanted.memory,
        "seconds": wanted.seconds,
        "bytes": BYTES,
        "job_python": own,
        "code": [code],
        "cuda": _has_gpus(plan),
    }


def lasting(request: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The part of a request that an answer depends on: not the run's name, its directories and the limits."""
    dropped = ("config", "base", "seconds", "bytes", "code")
    rest = {key: value for key, value in request.items() if key not in dropped}
    return {**rest, "trained": yamlio.json_value(plan.trained), "data": plan.data.get("digest")}


def _variables(plan: Plan, backend: Rehearsal) -> dict[str, str]:
    """Those of the job that its config, or the framework's search for files, refers to."""
    known: dict[str, str] = plan.agent["env"]
    names = [name for name in (*plan.deferred, *backend.variables) if name in known and not is_secret(name)]
    return {name: known[name] for name in names if hidden.value(f"env_vars.{name}", known[name]) == known[name]}


def _has_gpus(plan: Plan) -> bool:
    given = plan.profile.gpus_per_node
    # on a cluster, no number is no "none": its partition may give them
    return gpus.count() > 0 if plan.here else given is None or given > 0
