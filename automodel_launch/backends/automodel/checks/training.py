"""The training config as a unit: the recipe class, the sections it needs, and keys that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch.backends.automodel import datasets, keys, loader, schema
from automodel_launch.backends.automodel.schema import renamed
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed, nearest

_LOSSES = "nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy"
_QAT = "nemo_automodel.components.quantization.qat.QATConfig"


def recipe(plan: Plan) -> Iterator[Finding]:
    """The recipe class exists; where its keys are not known here, a note says that they are not checked."""
    key, value = _recipe(plan)
    name, known = loader.recipe_class(plan.config), schema.load().data["recipes"]
    foreign = isinstance(value, str) and any(mark in value for mark in ".:") and not value.startswith("nemo_automodel")
    if value is not None and (not isinstance(value, str) or not value.strip()):
        message = f"{describe_value(plan, key, value)} does not name a recipe class."
        yield Finding("error", "unknown-recipe", message, f"recipe={loader.RECIPE}")
    elif name not in known and not foreign:
        message = f"{describe_value(plan, key, value)}: AutoModel {schema.VERSION} has no such recipe class."
        near = completed(name, [loader.RECIPE, *known])
        other = f"; or did you mean {near}?" if near and near != loader.RECIPE else ""
        yield Finding("error", "unknown-recipe", message, f"recipe={loader.RECIPE} (it pretrains){other}")
    elif value and str(value).replace(":", ".").rpartition(".")[2] in renamed.RECIPES:
        message = f"{describe_value(plan, key, value)} is called {name} in AutoModel {schema.VERSION}, which is used."
        yield Finding("note", "renamed-key", message, f"recipe: {name}")
    elif schema.load().top(name) is None:
        yield Finding(
            "note",
            "not-checked",
            f"{describe_value(plan, key, value)}: its keys are not known here; only its targets are.",
        )


_BUILT = ("model", "dataset", "loss_fn", "optimizer", "peft", "tool_call_eval")


def needed(plan: Plan) -> Iterator[Finding]:
    """Sections without which set-up ends in an AttributeError, and ones that must name what they build."""
    if schema.load().top(loader.recipe_class(plan.config)) is None:
        return
    for key in keys.SECTIONS:
        if plan.config.get(key) is None:
            what = f"{key} ({source(plan, key)}) is empty" if key in plan.config else f"the config has no {key}"
            message = f"{plan.config_name}: {what}, and AutoModel {schema.VERSION} stops without it."
            yield Finding("error", "missing-key", message, f"+{key}=..., or a config with it in `defaults:`")
    building = [key for key in plan.config if key in _BUILT]
    for key in (*building, *(key for key in plan.config if key.startswith(keys.VALIDATION))):
        section = plan.config[key]
        if isinstance(section, dict) and "_target_" not in section:
            message = f"{describe_value(plan, key, section)} does not say what to build."
            yield Finding("error", "missing-key", message, f"+{key}._target_=package.module.Name")


def batch_size(plan: Plan) -> Iterator[Finding]:
    """dataloader.batch_size is what a rank takes; the accumulation steps are computed from local_batch_size."""
    key = "dataloader.batch_size"
    batch = loader.value(plan.config, key)
    local = loader.value(plan.config, "step_scheduler.local_batch_size") or 1
    if batch is None or batch == local or dotted.left_to_the_job(batch) or dotted.left_to_the_job(local):
        return
    if any(kind.startswith(datasets.MEGATRON_DATASET) for _, kind, _ in datasets.datasets(plan.config)):
        message = f"{describe_value(plan, key, batch)} is not used: Megatron data come in batches of"
        message += f" local_batch_size = {local}."
        yield Finding("warning", "batch-size-twice", message, f"~{key}")
        return
    where = source(plan, "step_scheduler.local_batch_size")
    message = (
        f"{describe_value(plan, key, batch)} overrides step_scheduler.local_batch_size = {local} ({where}), from which"
        " AutoModel computes the accumulation: the global batch would not be what the config says."
    )
    yield Finding("error", "batch-size-twice", message, f"~{key}, and step_scheduler.local_batch_size={batch}")


def loss(plan: Plan) -> Iterator[Finding]:
    """torch's losses do not accept what AutoModel passes: a TypeError at the first step."""
    section = plan.config.get("loss_fn")
    key = "loss_fn._target_" if isinstance(section, dict) else "loss_fn"
    target = section.get("_target_") if isinstance(section, dict) else section
    if isinstance(target, str) and target.startswith("torch."):
        message = f"{describe_value(plan, key, target)} cannot be called as AutoModel {schema.VERSION} calls a loss."
        yield Finding("error", "wrong-loss", message, f"{key}={_LOSSES}")


def tokenizers(plan: Plan) -> Iterator[Finding]:
    """Megatron data are built with one: that of the section, or of what the model is loaded from (train_ft.py)."""
    model = plan.config.get("model")
    if not isinstance(model, dict) or schema.load().top(loader.recipe_class(plan.config)) is None:
        return  # `needed` tells of a config without a model
    loaded = keys.PRETRAINED in model or _names_a_config(model.get("config"))
    for key, kind, section in datasets.datasets(plan.config):
        given = section.get("tokenizer")
        others = key != "dataset" or not datasets.is_megatron(kind)  # a validation set takes the training's
        if others or given is not None or (loaded and "tokenizer" not in section):
            continue
        message = (
            f"{describe_value(plan, f'{key}.tokenizer', given)}: AutoModel {schema.VERSION} builds no Megatron data"
        )
        fix = f"+{key}.tokenizer._target_=nemo_automodel._transformers.auto_tokenizer.NeMoAutoTokenizer.from_pretrained"
        yield Finding(
            "error", "missing-key", f"{message} without one.", f"{fix} +{key}.tokenizer.{keys.PRETRAINED}=DIR"
        )
        return


def _names_a_config(section: Any) -> bool:
    return isinstance(section, str) or (isinstance(section, dict) and keys.PRETRAINED in section)


def _recipe(plan: Plan) -> tuple[str, Any]:
    """(key, value) of what names the recipe class, in the order of recipes/pretrain.py."""
    key = "recipe" if plan.config.get("_step_recipe") is None else "_step_recipe"
    value = plan.config.get(key)
    return (f"{key}._target_", value.get("_target_")) if isinstance(value, dict) else (key, value)


def clipping(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 multiplies gradients by max_norm / their norm, whatever max_norm is: 0 is not "off"."""
    key = keys.MAX_NORM
    value = loader.value(plan.config, key)
    if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
        fix = f"{key}=1.0, or ~clip_grad_norm for no clipping"
        told = describe_value(plan, key, value)
        if value < 0:
            yield Finding("error", "not-positive", f"{told} reverses all gradients; it must be above 0.", fix)
        elif value == 0:  # a job that runs to its end
            yield Finding("warning", "not-positive", f"{told} makes all gradients 0, so that nothing is learnt.", fix)
        else:
            yield Finding("error", "not-positive", f"{told}: every gradient would be NaN.", fix)


def quantizing(plan: Plan) -> Iterator[Finding]:
    """`qat.enabled` alone does nothing (recipes/llm/train_ft.py: build_model)."""
    section = plan.config.get("qat")
    if not isinstance(section, dict) or not loader.value(plan.config, "qat.enabled"):
        return
    if section.get("qat_config") is None and section.get("quantizer") is None:
        message = (
            f"{describe_value(plan, 'qat.enabled', section['enabled'])}, and no qat.qat_config says how: AutoModel"
        )
        message += f" {schema.VERSION} would train without quantization, and without a message."
        yield Finding("error", "missing-key", message, f"+qat.qat_config={{_target_: {_QAT}}}")


def distilled(plan: Plan) -> Iterator[Finding]:
    """A share of the loss is the teacher's (recipes/llm/kd.py); a negative one teaches the opposite, in silence."""
    key = "kd_ratio"
    value = loader.value(plan.config, key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not 0 <= value <= 1 and loader.recipe_class(plan.config) == loader.DISTILLATION:
        message = f"{describe_value(plan, key, value)} is no share of the loss, which is from 0 to 1."
        yield Finding("error", "bad-value", message, f"{key}=0.5")


def packing(plan: Plan) -> Iterator[Finding]:
    """Megatron's samples have the whole length; packing takes them for lists, in a RuntimeError about a Tensor."""
    key, size = keys.PACKED, loader.value(plan.config, keys.PACKED)
    if size and datasets.reads_megatron(plan.config):
        message = f"{describe_value(plan, key, size)}: Megatron data are packed already, and AutoModel stops at it."
        yield Finding("error", "bad-value", message, "~packed_sequence")


def attention(plan: Plan) -> Iterator[Finding]:
    """torch's backends of attention (torch.nn.attention.SDPBackend), in capitals or not."""
    given = plan.config.get("sdpa_method")
    for name in given if isinstance(given, list) else []:
        if isinstance(name, str) and name.upper() not in _SDPA and not dotted.left_to_the_job(name):
            near = nearest(name.upper(), _SDPA) or _SDPA[0]
            message = f"{describe_value(plan, 'sdpa_method', name)}: torch has {', '.join(_SDPA)}."
            yield Finding("error", "bad-value", message, f"sdpa_method=[{near}]")


_SDPA = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH", "OVERRIDEABLE", "ERROR")
CHECKS = (recipe, needed, packing, attention, batch_size, clipping, loss, quantizing, distilled, tokenizers)
