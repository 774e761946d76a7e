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
from automodel_launch.suggest import nearest

_LOADER = "dataloader"
_OF_SAMPLERS = ("shuffle", "group_by_length", "drop_last", "shuffle_buffer_size")
_OF_EXPERTS = ("moe_metrics.enabled", "distributed.moe")
_OF_WSD = (keys.WSD_STEPS, keys.WSD_STYLE)
_FREEZING = tuple(f"freeze_config.freeze_{part}" for part in ("vision_tower", "audio_tower", "language_model"))
_DEVICE = "mfu.device"
_PEAKS = (
    *("CPU", "GB200", "B200", "MI300X", "H100", "H800", "H200", "A100", "A800", "L40S", "L40", "A40", "L20", "H20"),
    *("910B", "Ascend910", "RTX 3070 Ti", "RTX PRO 6000 Blackwell"),
)
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
    for key in _FREEZING if shape and shape.family in shapes.AS_LLAMA and "text_config" not in shape.numbers else ():
        if loader.value(config, key) is True:
            yield key, f"the model ({shape.where if shape else ''}) is one of text alone, and has no part of that name"
    if isinstance(config.get(_VALIDATION_LOADER), Mapping) and set(kinds) <= {"dataset"}:
        yield _VALIDATION_LOADER, f"the config has no {keys.VALIDATION}"
    style = loader.value(config, keys.STYLE)
    for key in _OF_WSD:
        if dotted.get(config, key) is not None and style != "WSD" and not dotted.left_to_the_job(style):
            yield key, f"{describe(plan, keys.STYLE)} is not WSD"


def mfu(plan: Plan) -> Iterator[Finding]:
    """A device that AutoModel has no peak of (_transformers/mfu.py): it would report an MFU of 0 %."""
    device = dotted.get(plan.config, _DEVICE)
    if not isinstance(device, str) or "${" in device or dotted.get(plan.config, "mfu.peak_tflops") is not None:
        return
    if not any(name.lower() in device.lower() for name in _PEAKS):
        message = f"{describe(plan, _DEVICE)}: AutoModel knows no peak of that device, and would tell an MFU of 0 %."
        near = nearest(device, _PEAKS)
        yield Finding(
            "warning", "bad-value", message, f"{f'{_DEVICE}={near}, or ' if near else ''}mfu.peak_tflops=NUMBER"
        )


CHECKS = (ignored, mfu)
