"""`on_checkpoint`: with a training's plan that of the job which evaluates a checkpoint of it, whichever that will be.

contract.THIS_CHECKPOINT stands in it for the checkpoint's name. Its files travel in a folder of the training's job, and
there, beside the batch script, a job is made of them for each checkpoint (recipes/node_agent_lib/on_checkpoint.py).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import backends, checks, contract
from automodel_launch.config import configs, yamlio
from automodel_launch.config.merge import MergedConfig
from automodel_launch.errors import ConfigError
from automodel_launch.frozen import thaw
from automodel_launch.plan import naming, recipes
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile import alone
from automodel_launch.profile.schema import keys_of
from automodel_launch.workspace import Workspace

_CHECKPOINT_LENGTH = 30  # of a checkpoint's name, at most, in the name of the run that evaluates it
_WITHOUT = "run.env.on_checkpoint=null"
Promised = tuple[tuple[str, str, bool], ...]  # see Plan
Make = Callable[[Recipe, MergedConfig, str, Promised], Plan]  # planning.make, with what the training's plan is made of


def added(draft: Plan, env: Mapping[str, Any], overridden: Mapping[str, Any], workspace: Workspace, make: Make) -> Plan:
    """The training's plan with that of its evaluations, where its profile wants them and it saves checkpoints.

    `env` is `run.env` of its config, `overridden` what the command line has changed of its profile.

    Raises:
        ConfigError: its checkpoints cannot be evaluated, and why.
    """
    wanted = draft.profile.on_checkpoint
    folder = backends.of(draft.recipe).checkpoint_dir(draft.config, draft.run_dir)
    none = draft.recipe.backend in (None, *contract.STEPLESS) or draft.recipe.name == wanted
    if wanted is None or "on_checkpoint" not in keys_of(draft.profile.executor) or none or folder is None:
        return draft
    recipe, checkpoint = recipes.find(workspace, wanted), f"{folder}/{contract.THIS_CHECKPOINT}"
    try:
        made = backends.of(draft.recipe).evaluation(draft.config, checkpoint)
    except ConfigError as error:
        where = f"on_checkpoint = {wanted!r} ({draft.source('on_checkpoint')})"
        raise ConfigError(f"{where}: {error.message}", _or_without(error.hint)) from error
    own = {**alone.reset(draft.profile.executor), "nodes": recipe.resources.get("nodes", 1)}
    # its image and GPUs a node are the training's, also where that is another recipe than pretrain
    kept = {key: value for key, value in {**draft.recipe.profile_defaults, **env}.items() if key not in own}
    layered = _layered(recipe, draft, {"run": {"env": kept, "job_env": list(draft.deferred)}, **made})
    layered.profile_overrides = {**overridden, **own}
    evaluation = make(recipe, layered, _name(draft.run_name), ((checkpoint, draft.run_name, False),))
    files = {file.path: file for file in (*evaluation.files, *draft.files)}
    return replace(draft, evaluation=evaluation, files=_in_order(files))


def texts(evaluation: Plan | None) -> dict[str, str]:
    """Its files in the directory of the training's job; none without it."""
    if evaluation is None:
        return {}
    document = json.dumps(evaluation.document(), indent=1, ensure_ascii=False) + "\n"
    own = {**thaw(evaluation.texts), contract.SCRIPT: evaluation.script, contract.PLAN: document}
    return {f"{contract.ON_CHECKPOINT}/{name}": text for name, text in own.items()}


def findings(plan: Plan, of_training: Sequence[Finding]) -> Iterator[Finding]:
    """What would refuse such a job, as far as no cluster has to be asked for it. A kind of error that the training has
    is left out: data, tokenizer and profile are the same.
    """
    said = {finding.code for finding in of_training if finding.level == "error"}
    found = checks.run(plan.evaluation, offline=True) if plan.evaluation else []
    for finding in found:
        if finding.level == "error" and finding.code not in said:
            yield replace(finding, message=f"on_checkpoint: {finding.message}", fix=_or_without(finding.fix))


def _or_without(fix: str | None) -> str:
    return f"{fix}; or without: {_WITHOUT}" if fix else _WITHOUT


def _layered(recipe: Recipe, draft: Plan, config: dict[str, Any]) -> MergedConfig:
    with tempfile.TemporaryDirectory(prefix="launch-on-checkpoint-") as scratch:
        path = Path(scratch, contract.ON_CHECKPOINT, f"{draft.config_name}.yaml")  # as messages and the plan show it
        path.parent.mkdir()
        path.write_text(yamlio.dump(yamlio.json_value(config)), encoding="utf-8")
        return configs.load(recipe, str(path), ())


def _name(run_name: str) -> str:
    """RUN-CHECKPOINT; of a long one the beginning, and a hash of all of it."""
    most = naming.LONGEST - _CHECKPOINT_LENGTH - 1
    if len(run_name) > most:
        digest = hashlib.sha256(run_name.encode()).hexdigest()
        run_name = naming.with_digest(run_name[: most - naming.HASH_DIGITS - 1], digest)
    return f"{run_name}-{contract.THIS_CHECKPOINT}"


def _in_order(files: Mapping[str, PlannedFile]) -> tuple[PlannedFile, ...]:
    return tuple(files[path] for path in sorted(files))
