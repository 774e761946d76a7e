"""What makes a whole of a training config: the recipe class, the sections it needs, and keys that contradict others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel import schema
from automodel_launch.backends.automodel.schema import kinds, renamed
from automodel_launch.config import dotted
from automodel_launch.plan.describe import source, written
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed

_LOSSES = "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"


def recipe(plan: Plan) -> Iterator[Finding]:
    """The recipe class is there; keys of one that is not known are not checked, which is said."""
    if not automodel.trains(plan.recipe):
        return
    key, value = _recipe(plan)
    name, known = automodel.recipe_class(plan.config), schema.load().data["recipes"]
    foreign = isinstance(value, str) and any(mark in value for mark in ".:") and not value.startswith("nemo_automodel")
    if value is not None and (not isinstance(value, str) or not value.strip()):
        message = f"{written(plan, key, value)} does not name a recipe class."
        yield Finding("error", "unknown-recipe", message, f"recipe={automodel.RECIPE}")
    elif name not in known and not foreign:
        message = f"{written(plan, key, value)}: AutoModel {schema.VERSION} has no such recipe class."
        near = completed(name, [automodel.RECIPE, *known])
        other = f"; or did you mean {near}?" if near and near != automodel.RECIPE else ""
        yield Finding("error", "unknown-recipe", message, f"recipe={automodel.RECIPE} (it pretrains){other}")
    elif value and str(value).replace(":", ".").rpartition(".")[2] in renamed.RECIPES:
        message = f"{written(plan, key, value)} is called {name} in AutoModel {schema.VERSION}; that is taken."
        yield Finding("note", "renamed-key", message, f"recipe: {name}")
    elif schema.load().top(name) is None:
        yield Finding(
            "note", "not-checked", f"{written(plan, key, value)}: its keys are not known here; only its targets are."
        )


def needed(plan: Plan) -> Iterator[Finding]:
    """Sections without which set-up ends in an AttributeError, and ones that must name what they build."""
    if not automodel.trains(plan.recipe) or schema.load().top(automodel.recipe_class(plan.config)) is None:
        return
    for key in automodel.SECTIONS:
        if plan.config.get(key) is None:
            what = f"{key} ({source(plan, key)}) is empty" if key in plan.config else f"the config has no {key}"
            message = f"{plan.config_name}: {what}, and AutoModel {schema.VERSION} stops without it."
            yield Finding("error", "missing-key", message, f"+{key}=..., or a config with it in `defaults:`")
    building = [key for key in plan.config if key in ("model", "dataset", "loss_fn", "optimizer", "peft")]
    for key in (*building, *(key for key in plan.config if key.startswith(automodel.VALIDATION))):
        section = plan.config[key]
        if isinstance(section, dict) and "_target_" not in section:
            message = f"{written(plan, key, section)} does not say what to build."
            yield Finding("error", "missing-key", message, f"+{key}._target_=package.module.Name")


def batch_size(plan: Plan) -> Iterator[Finding]:
    """dataloader.batch_size is what a rank takes; the accumulation steps are reckoned from local_batch_size."""
    key = "dataloader.batch_size"
    loader, local = dotted.get(plan.config, key), dotted.get(plan.config, "step_scheduler.local_batch_size") or 1
    if not automodel.trains(plan.recipe) or loader is None or loader == local:
        return
    if any(kind.startswith(automodel.MEGATRON_DATASET) for _, kind, _ in automodel.datasets(plan.config)):
        message = (
            f"{written(plan, key, loader)} is not used: Megatron data come in batches of local_batch_size = {local}."
        )
        yield Finding("warning", "batch-size-twice", message, f"~{key}")
        return
    where = source(plan, "step_scheduler.local_batch_size")
    message = (
        f"{written(plan, key, loader)} overrides step_scheduler.local_batch_size = {local} ({where}), from which"
        " AutoModel reckons the accumulation: the global batch would not be what the config says."
    )
    yield Finding("error", "batch-size-twice", message, f"~{key}, and step_scheduler.local_batch_size={loader}")


def loss(plan: Plan) -> Iterator[Finding]:
    """torch's losses do not take what AutoModel gives to one: a TypeError at the first step."""
    section = plan.config.get("loss_fn")
    key = "loss_fn._target_" if isinstance(section, dict) else "loss_fn"
    target = section.get("_target_") if isinstance(section, dict) else section
    if automodel.trains(plan.recipe) and isinstance(target, str) and target.startswith("torch."):
        message = f"{written(plan, key, target)} cannot be called as AutoModel {schema.VERSION} calls a loss."
        yield Finding("error", "wrong-loss", message, f"{key}={_LOSSES}")


def workers(plan: Plan) -> Iterator[Finding]:
    """torch's DataLoader refuses these without worker processes, after the model is loaded."""
    if not automodel.trains(plan.recipe):
        return
    for section in ("dataloader", "validation_dataloader"):
        if kinds.as_read(dotted.get(plan.config, f"{section}.num_workers")) not in (None, 0):
            continue
        for name in ("persistent_workers", "prefetch_factor"):
            value = dotted.get(plan.config, f"{section}.{name}")
            if value:
                message = f"{written(plan, f'{section}.{name}', value)} needs worker processes, and there are none."
                yield Finding("error", "bad-value", message, f"{section}.num_workers=2, or ~{section}.{name}")


def _recipe(plan: Plan) -> tuple[str, Any]:
    """(key, value) of what names the recipe class, in the order of recipes/pretrain.py."""
    key = "recipe" if plan.config.get("_step_recipe") is None else "_step_recipe"
    value = plan.config.get(key)
    return (f"{key}._target_", value.get("_target_")) if isinstance(value, dict) else (key, value)


CHECKS = (recipe, needed, batch_size, loss, workers)
