"""What a config trains, on which hardware, and what that takes: the same estimate as a plan's, without a plan.

Nothing is asked, and no variable need be set: what a config names by one stays a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.backends import Sizes
from automodel_launch.config import configs, envscope, yamlio
from automodel_launch.errors import LaunchError
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile.schema import Profile
from automodel_launch.remote import gpu_models
from automodel_launch.remote.filesystem import RemoteFileSystem
from automodel_launch.remote.shell import LocalShell

GPU = "H100"  # of the estimates; the profile's counts once there is one
_VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)")
_ELSEWHERE = RemoteFileSystem(LocalShell())  # paths of a config mean nothing here


@dataclass(frozen=True)
class Estimate:
    """`memory` is bytes on the fullest GPU, with what driver and libraries keep; `gpu_hours` are of the whole run."""

    nodes: int
    gpus_per_node: int
    gpu: str
    parameters: int | None
    tokens_per_step: int | None
    tokens: int | None
    memory: int | None
    gpu_hours: float | None


def of(recipe: Recipe, config: str) -> Estimate | None:
    """None where the model's sizes are not known, or the config cannot be resolved by itself."""
    try:
        plan = _draft(recipe, config)
        sizes = backends.of(recipe).sizes(plan, with_data=False)
    except LaunchError:
        return None
    return _estimate(plan, sizes) if sizes.parameters and sizes.tokens_per_step else None


def _estimate(plan: Plan, sizes: Sizes) -> Estimate:
    return Estimate(
        nodes=plan.nodes,
        gpus_per_node=plan.processes_per_node,
        gpu=str(plan.profile.gpu),
        parameters=sizes.parameters,
        tokens_per_step=sizes.tokens_per_step,
        tokens=sizes.tokens,
        memory=sizes.memory + gpu_models.RUNTIME if sizes.memory else None,
        gpu_hours=sizes.gpu_hours,
    )


def _draft(recipe: Recipe, config: str) -> Plan:
    """As much of a plan as sizes depend on."""
    layered = configs.load(recipe, config, ())
    names = {*_VARIABLE.findall(layered.path.read_text(encoding="utf-8")), *_VARIABLE.findall(repr(layered.data))}
    scope = envscope.EnvScope({}, job_only=frozenset(names))
    wanted = {**recipe.profile_defaults, **layered.run_env(scope)}
    numbers = {key: wanted[key] for key in ("nodes", "gpus_per_node") if isinstance(wanted.get(key), int)}
    profile = Profile.model_validate({"executor": "slurm", "gpu": GPU, **numbers})
    run: dict[str, Any] = {"env": numbers, "data_dir": "/data", "name": "@run", "dir": "/runs/@run", "wandb": {}}
    data = yamlio.json_value(layered.resolve(run, scope).data)
    return Plan(
        job_id="@job",
        run_name="@run",
        mode="batch",
        recipe=recipe,
        config_name=config,
        profile_name="",
        profile=profile,
        profile_sources={},
        job_root="/runs",
        place=_ELSEWHERE,
        here=False,
        data_dir="/data",
        image=None,
        processes_per_node=profile.gpus_per_node or 1,
        trained=data,
        config=data,
        provenance={},
        deferred=(),
        unset=(),
        files=(),
        artifacts={},
        agent={"python": "python", "script": contract.RECIPES, "args": []},
    )
