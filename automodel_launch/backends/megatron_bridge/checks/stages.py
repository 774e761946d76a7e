"""Layers over pipeline stages where somebody says how they are spread (transformer_config.py, schedules.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import keys, layout, model, settings
from automodel_launch.backends.megatron_bridge.checks.told import bad_value, told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_FIRST, _LAST = (f"model.num_layers_in_{place}_pipeline_stage" for place in ("first", "last"))
_WITH_EMBEDDING, _WITH_LOSS = (f"model.account_for_{part}_in_pipeline_split" for part in ("embedding", "loss"))
_GROUP = "model.microbatch_group_size_per_vp_stage"
_TIMES = (r"\(([^)]+)\)\*(\d+)", r"(.)\*(\d+)")  # as PipelineParallelLayerLayout unrolls them
_LARGEST = 1 << 16


def spread(plan: Plan) -> Iterator[Finding]:
    """Own sizes of the first and the last stage, or embedding and loss as layers: what remains divides."""
    known = settings.of(plan.config)
    found, layers = layout.sizes(known), model.integer(known, "num_layers", plan.visible)
    if found is None or found.pp == 1 or not layers or known.value(keys.LAYOUT):
        return
    ends = {key: known.number(key) for key in (_FIRST, _LAST)}
    given = {key: size for key, size in ends.items() if size is not None}
    extra = [key for key in (_WITH_EMBEDDING, _WITH_LOSS) if known.value(key) is True]
    if given and not extra:
        rest, stages = layers - sum(given.values()), found.pp - len(given)
        if min(given.values()) < 1 or rest < 0 or (rest if stages == 0 else rest < stages or rest % stages):
            listed = " and ".join(told(plan, known, key) for key in given)
            message = f"{listed}: of {layers} layers {rest} remain for {stages} of {told(plan, known, keys.PP)} stages."
            yield Finding("error", "pipeline", message, f"sizes that leave a multiple of {max(stages, 1)}")
    elif extra and not given and (layers + len(extra)) % found.pp:
        listed = " and ".join(told(plan, known, key) for key in extra)
        message = (
            f"{listed}: {layers} layers and {len(extra)} more do not divide into {told(plan, known, keys.PP)} stages."
        )
        yield Finding("error", "pipeline", message, f"~{extra[0]}, or another number of stages")


def layouts(plan: Plan) -> Iterator[Finding]:
    """`Ett|tt|ttL`: each layer has its place, and the stages divide by the ranks of the pipeline."""
    known = settings.of(plan.config)
    written, found = known.value(keys.LAYOUT), layout.sizes(known)
    if not isinstance(written, str) or found is None or "${" in written:
        return
    text = _unrolled(written.replace(",", ""))
    if text is None:
        return
    layers, stages = model.integer(known, "num_layers", plan.visible), text.count("|") + 1
    odd = next((one for one in text if one not in "EtmL|"), None)
    if odd:
        fix = "E embedding, t layer, m multi-token prediction, L loss, | between stages, x*3 and (tt|)*3 for three"
        yield bad_value(plan, keys.LAYOUT, written, f": there is no {odd!r}.", fix)
    elif stages % found.pp:
        message = (
            f"{told(plan, known, keys.LAYOUT)} has {stages} stages, not a multiple of {told(plan, known, keys.PP)}."
        )
        yield Finding("error", "pipeline", message, f"{found.pp - 1} or more '|'")
    elif layers and text.count("t") != layers:
        message = f"{told(plan, known, keys.LAYOUT)} has {text.count('t')} layers, and the model {layers}."
        yield Finding("error", "pipeline", message, f"{layers} times 't'")


def _unrolled(text: str) -> str | None:
    """The layout without multiplications; None where it is no sensible one."""
    for pattern in _TIMES:
        if any(int(times) > _LARGEST for _, times in re.findall(pattern, text)):
            return None
        text = re.sub(pattern, lambda match: match[1] * int(match[2]), text)
    return text


def interleaved(plan: Plan) -> Iterator[Finding]:
    """With virtual stages a step has as many micro batches as stages, and no small rest."""
    known = settings.of(plan.config)
    found, virtual = layout.sizes(known), known.number(keys.VIRTUAL)
    count = _micro_batches(known, plan.world_size)
    if found is None or found.pp == 1 or not virtual or virtual < 2 or not count or known.value(keys.RAMP_UP):
        return
    group = known.number(_GROUP) or found.pp
    if count < group or 0 < count % group < found.pp:
        message = (
            f"{told(plan, known, keys.VIRTUAL)}: {count} micro batches a step and rank do not divide into groups of"
        )
        message += f" {group}, as interleaved stages need ({told(plan, known, keys.GLOBAL_BATCH)})."
        per = known.number(keys.GLOBAL_BATCH) or count
        fits = per // count * max(group, count // group * group)
        yield Finding("error", "pipeline", message, override(plan, keys.GLOBAL_BATCH, fits))


def _micro_batches(known: Settings, world: int) -> int | None:
    total, micro, dp = (
        known.number(keys.GLOBAL_BATCH),
        known.number(keys.MICRO_BATCH),
        layout.data_parallel(known, world),
    )
    if not total or not micro or not dp or min(total, micro) < 1 or total % (micro * dp):
        return None
    return total // (micro * dp)


CHECKS = (spread, layouts, interleaved)
