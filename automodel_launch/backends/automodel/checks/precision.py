"""The types in which weights are kept and layers compute: those in which nothing trains, or many times as slowly."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import distributed, evaluation, keys, loader, schema
from automodel_launch.backends.automodel.model import section as model_section
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus

_ADAM = ("torch.optim.Adam", "torch.optim.AdamW")
_EPS = 1e-8  # theirs
_FLOAT16 = ("float16", "half", "fp16")
_NOTHING_IN_FLOAT16 = 2.0**-25  # half of the smallest number above 0, and rounded to 0


def half(plan: Plan) -> Iterator[Finding]:
    """torch's Adam divides by sqrt(v) + eps, in the weights' type unless it is fused: NaN, without a message."""
    config, key = plan.config, "optimizer.eps"
    target, given = dotted.get(config, "optimizer._target_"), loader.value(config, key)
    eps = _EPS if given is None else given
    rounds = isinstance(eps, float) and 0 <= eps <= _NOTHING_IN_FLOAT16
    if target not in _ADAM or not rounds or plan.recipe.name == evaluation.RECIPE:  # which takes no step
        return
    others = dotted.get(config, "peft.lora_dtype") is not None or config.get("quantization") is not None
    fused = loader.value(config, "optimizer.fused") is True
    if model_section.precision(config) in _FLOAT16 and not others and not fused:
        written = next(name for name in ("model.dtype", "model.torch_dtype") if dotted.get(config, name))
        message = (
            f"{describe_value(plan, written, dotted.get(config, written))}: {target} keeps its state in that type,"
        )
        message += f" in which {key} = {eps:g} is 0: it divides by 0, and the loss is NaN."
        yield Finding("error", "bad-value", message, f"{written}=float32, or bfloat16; or a larger {key}")


def full_precision(plan: Plan) -> Iterator[Finding]:
    """Weights in float32 of which nothing makes layers compute in bfloat16: FSDP2's policy is for several processes.

    AutoModel 0.7.0 shards nothing for one (components/distributed/fsdp2.py), and DDP has no such policy. On an H100 a
    model of 1.2 billion parameters took 4,100 tokens a second, 3 % of what the card can do (docs/gpu.md).
    """
    mesh = distributed.mesh(plan.config)
    if mesh is None or not _has_gpus(plan) or loader.value(plan.config, keys.AUTOCAST) is not None:
        return
    if schema.load().top(loader.recipe_class(plan.config)) is None or plan.config.get("model") is None:
        return
    strategy, alone = distributed.STRATEGIES.get(mesh.strategy), plan.world_size == 1
    wanted = model_section.compute_precision(plan.config, 2)  # of several processes
    if strategy == "fsdp2" and alone and wanted == "bfloat16":
        why = "one process: AutoModel shards nothing then, and FSDP2's mp_policy has no effect"
    elif strategy == "ddp" and not alone:
        why = f"{keys.STRATEGY} = {mesh.strategy} has no mixed precision"
    else:
        return
    if model_section.precision(plan.config) == "float32":
        message = f"{why}: layers compute in float32, the type of the weights, which takes many times as long."
        yield Finding("warning", "full-precision", message, f"+{keys.AUTOCAST}=bfloat16")


def rounded(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 turns the model of one process to bfloat16 but under FSDP2 (ddp.py, megatron_fsdp.py)."""
    if plan.world_size != 1 or not _has_gpus(plan) or model_section.is_fsdp2(plan.config):
        return
    if model_section.precision(plan.config) != "float32" or plan.recipe.name == evaluation.RECIPE:
        return
    strategy = describe_value(plan, keys.STRATEGY, dotted.get(plan.config, keys.STRATEGY))
    message = f"{strategy}: of one process AutoModel keeps weights and the optimizer's states in bfloat16, whatever"
    message += " model.torch_dtype says, and updates below 1/256 of a weight are lost."
    yield Finding("warning", "rounded-weights", message, f"{keys.STRATEGY}=fsdp2 +{keys.AUTOCAST}=bfloat16")


def unscaled(plan: Plan) -> Iterator[Finding]:
    """AutoModel's training scales no gradients, so that those of float16 round to 0 where they are small."""
    value = loader.value(plan.config, keys.AUTOCAST)
    if str(value).removeprefix("torch.") in _FLOAT16 and plan.recipe.name != evaluation.RECIPE:
        message = f"{describe_value(plan, keys.AUTOCAST, value)}: AutoModel {schema.VERSION} scales no gradients,"
        message += " and those below 6e-8 are 0 in float16."
        yield Finding("error", "bad-value", message, f"{keys.AUTOCAST}=bfloat16")


def _has_gpus(plan: Plan) -> bool:
    return bool(gpus.of_a_node(plan.here and not plan.image, plan.profile.gpus_per_node))


CHECKS = (half, full_precision, rounded, unscaled)
