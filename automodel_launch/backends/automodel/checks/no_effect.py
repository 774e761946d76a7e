"""Keys that AutoModel knows, takes and does not use, given what else the config says.

nemo_automodel: components/datasets/loader.py (ParallelAwareDataloader, of which a batch sampler takes the place of the
sampler), recipes/_typed_config.py (Megatron data have one), recipes/llm/train_ft.py, components/optim/scheduler.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends.automodel import datasets, keys, loader
from automodel_launch.backends.automodel.model import shape as shapes
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_LOADER = "dataloader"
_OF_SAMPLERS = ("shuffle", "group_by_length", "drop_last", "shuffle_buffer_size")
_OF_EXPERTS = ("moe_metrics.enabled", "distributed.moe")
_OF_WSD = (keys.WSD_STEPS, keys.WSD_STYLE)
_VALIDATION_LOADER = "validation_dataloader"


def ignored(plan: Plan) -> Iterator[Finding]:
    """Each with the reason."""
    for key, why in _ignored(plan):
        section = key.partition(".")[0] if key == _OF_EXPERTS[0] else key
        yield Finding("warning", "ignored-key", f"{describe(plan, key)} has no effect: {why}.", f"~{section}")


def _ignored(plan: Plan) -> Iterator[tuple[str, str]]:
    config = plan.config
    kinds = {key: kind for key, kind, _ in datasets.datasets(config)}
    if datasets.is_megatron(kinds.get("dataset", "")):
        for key in (f"{_LOADER}.{name}" for name in _OF_SAMPLERS):
            if loader.value(config, key) not in (None, *(() if "shuffle" in key else (False,))):
                yield key, "Megatron data come in an order and in batches of their own"
    shape = shapes.read(config, plan.visible)
    for key in _OF_EXPERTS if shape and not shape.experts else ():
        value = loader.value(config, key)
        if value is True or (isinstance(value, Mapping) and value):
            yield key, f"the model ({shape.where if shape else ''}) has no experts"
    if isinstance(config.get(_VALIDATION_LOADER), Mapping) and set(kinds) <= {"dataset"}:
        yield _VALIDATION_LOADER, f"the config has no {keys.VALIDATION}"
    style = loader.value(config, keys.STYLE)
    for key in _OF_WSD:
        if dotted.get(config, key) is not None and style != "WSD" and not dotted.left_to_the_job(style):
            yield key, f"{describe(plan, keys.STYLE)} is not WSD"


CHECKS = (ignored,)
