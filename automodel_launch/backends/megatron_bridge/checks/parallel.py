"""Parallel sizes against the world size and the model (megatron/core/parallel_state.py, transformer_config.py)."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import keys, layout, model, settings
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import divisors, override, ranks, shortened
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_UNEVEN = (
    keys.LAYOUT,
    *(f"model.num_layers_in_{place}_pipeline_stage" for place in ("first", "last")),
    *(f"model.account_for_{part}_in_pipeline_split" for part in ("embedding", "loss")),
)


def world(plan: Plan) -> Iterator[Finding]:
    """The world size is a multiple of tensor x pipeline x context."""
    known = settings.of(plan.config)
    found = layout.sizes(known)
    if found is None or plan.world_size % found.model == 0:
        return
    above = -(-plan.world_size // found.model) * found.model
    listed = ", ".join(told(plan, known, key) for key, size in _model_sizes(found) if size > 1)
    message = (
        f"{listed}: tensor x pipeline x context = {found.model} ranks for a copy of the model, which does not divide"
    )
    fix = f"a world size of {' or '.join(str(n) for n in (above - found.model, above) if n)} (nodes, nproc_per_node)"
    smaller = " ".join(override(plan, key, 1) for key, size in _model_sizes(found) if size > 1)
    yield Finding("error", "world-size", f"{message} the {ranks(plan)}.", f"{fix}, or smaller sizes: {smaller}")


def _model_sizes(found: layout.Sizes) -> tuple[tuple[str, int], ...]:
    return (keys.TP, found.tp), (keys.PP, found.pp), (keys.CP, found.cp)


def experts(plan: Plan) -> Iterator[Finding]:
    """Experts spread evenly, over ranks that there are."""
    known = settings.of(plan.config)
    found = layout.sizes(known)
    if found is None or known.recipe is None:
        return
    number = model.integer(known, "num_moe_experts", plan.visible)
    expert_tensor = found.etp or found.tp
    group = expert_tensor * found.ep * found.pp
    if found.ep > 1 and not number and model.is_known(known, plan.visible):
        message = f"{told(plan, known, keys.EP)}, and the model of {known.recipe.name} has no experts."
        yield Finding("error", "expert-parallel", message, override(plan, keys.EP, 1))
    elif number and number % found.ep:
        message = f"{told(plan, known, keys.EP)} does not divide the model's {number} experts."
        fix = f"{keys.EP} = {shortened(divisors(number))}"
        yield Finding("error", "expert-parallel", message, fix)
    elif number and plan.world_size % found.model == 0 and plan.world_size % group:
        message = f"{told(plan, known, keys.EP)}: expert x expert tensor x pipeline = {found.ep} x {expert_tensor} x"
        message += f" {found.pp} = {group} does not divide the {ranks(plan)}."
        fits = [size for size in divisors(number) if plan.world_size % (expert_tensor * size * found.pp) == 0]
        fix = f"{keys.EP} = {shortened(fits) or 1}, or another number of nodes"
        yield Finding("error", "expert-parallel", message, fix)


def heads(plan: Plan) -> Iterator[Finding]:
    """Tensor parallelism splits the attention's heads; groups of keys may be shared by ranks."""
    known = settings.of(plan.config)
    found = layout.sizes(known)
    if found is None or found.tp == 1:
        return
    number = model.integer(known, "num_attention_heads", plan.visible)
    groups = model.integer(known, "num_query_groups", plan.visible)
    if number and number % found.tp:
        message = f"{told(plan, known, keys.TP)} does not divide the model's num_attention_heads = {number}."
        yield Finding("error", "tensor-parallel", message, f"{keys.TP} = {shortened(divisors(number))}")
    elif groups and groups % found.tp and found.tp % groups:
        message = f"{told(plan, known, keys.TP)} is neither a divisor nor a multiple of num_query_groups = {groups}."
        yield Finding("error", "tensor-parallel", message, f"{keys.TP} = {shortened(divisors(groups))}")


def sequence_parallel(plan: Plan) -> Iterator[Finding]:
    """It splits what tensor parallelism leaves whole: a ValueError without tensor parallelism."""
    known = settings.of(plan.config)
    found = layout.sizes(known)
    if found and found.tp == 1 and known.value(keys.SEQUENCE_PARALLEL) is True:
        message = f"{told(plan, known, keys.SEQUENCE_PARALLEL)} needs tensor parallelism: {told(plan, known, keys.TP)}."
        yield Finding("error", "tensor-parallel", message, override(plan, keys.SEQUENCE_PARALLEL, "false"))
    elif found and found.tp > 1 and known.value(keys.SEQUENCE_PARALLEL) is False and _has_experts(plan, known, found):
        message = (
            f"{told(plan, known, keys.TP)} in a model with experts needs {keys.SEQUENCE_PARALLEL}; without it the first"
        )
        message += " step is a ValueError."
        yield Finding("error", "expert-parallel", message, override(plan, keys.SEQUENCE_PARALLEL, "true"))


def _has_experts(plan: Plan, known: Settings, found: layout.Sizes) -> bool:
    return found.ep > 1 or bool(model.integer(known, "num_moe_experts", plan.visible))


def pipeline(plan: Plan) -> Iterator[Finding]:
    """Layers divide into stages, unless somebody says how they are spread."""
    known = settings.of(plan.config)
    found = layout.sizes(known)
    layers, virtual = model.integer(known, "num_layers", plan.visible), known.number(keys.VIRTUAL)
    if found is None or not layers:
        return
    if found.pp == 1 and virtual and virtual > 1:
        message = f"{told(plan, known, keys.VIRTUAL)} needs pipeline parallelism: {told(plan, known, keys.PP)}."
        yield Finding("error", "pipeline", message, override(plan, keys.VIRTUAL, "null"))
    elif found.pp > 1 and not any(known.value(key) for key in _UNEVEN) and _is_decoder(known):
        stages = found.pp * (virtual or 1)
        if layers % stages:
            what = f"{told(plan, known, keys.PP)}{f' x {told(plan, known, keys.VIRTUAL)}' if virtual else ''}"
            message = f"{what}: {stages} stages do not divide the model's {layers} layers."
            fix = f"{keys.PP} = {shortened(divisors(layers))}, or {keys.LAYOUT}"
            yield Finding("error", "pipeline", message, fix)


def _is_decoder(known: Settings) -> bool:
    """A hybrid of Mamba and attention layers is spread by its pattern."""
    provider = known.recipe.classes.get("model", "") if known.recipe else ""
    return not provider.startswith(("Mamba", "Nemotron"))


CHECKS = (world, experts, heads, sequence_parallel, pipeline)
