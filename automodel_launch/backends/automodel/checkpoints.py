"""How many checkpoints a run writes, where, and how large they are.

A checkpoint holds the weights and the optimizer's states in the type in which they are stored (nemo_automodel,
components/checkpoint), with LoRA those of the adapters alone; the last one also an export for transformers, in the
published type, or with `save_consolidated` every, or true, each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends import Checkpoints
from automodel_launch.backends.automodel import loader, step_scheduler
from automodel_launch.backends.automodel.keys import ASYNC_SAVE, CHECKPOINT_DIR, CKPT_EVERY, KEEP_CHECKPOINTS
from automodel_launch.backends.automodel.model import lora, parameters, section, shape
from automodel_launch.backends.automodel.model.memory import BYTES, moments
from automodel_launch.config.dotted import get
from automodel_launch.plan.plan import Plan


def checkpoint_dir(config: Mapping[str, Any]) -> str | None:
    """Where checkpoints go; None where they are switched off."""
    if loader.value(config, "checkpoint.enabled") is False:
        return None
    folder = get(config, "checkpoint.checkpoint_dir")
    return folder if isinstance(folder, str) else None


def kept_checkpoints(config: Mapping[str, Any]) -> int | None:
    """How many recent checkpoints stay on disk; None: all of them."""
    value = loader.value(config, KEEP_CHECKPOINTS)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def consolidates(config: Mapping[str, Any]) -> bool:
    """The last checkpoint also holds an export for transformers, which torch's own format has not, nor an adapter."""
    if str(get(config, "checkpoint.model_save_format")).lower() == "torch_save" or lora.is_given(config):
        return False
    return _consolidated(config) != "false"


def _consolidated(config: Mapping[str, Any]) -> str:
    """false, final, every or true, which is every; AutoModel's default is final."""
    value = loader.value(config, "checkpoint.save_consolidated")
    return "final" if value is None else str(value).strip().lower()


def of(plan: Plan) -> Checkpoints | None:
    """The checkpoints of a plan's run; None where there are none, or no number of steps."""
    steps, directory = step_scheduler.steps(plan.config), checkpoint_dir(plan.config)
    if steps is None or not steps.max_steps or directory is None:
        return None
    size, export = _bytes(plan)
    export = export if consolidates(plan.config) else 0
    if size is not None and _consolidated(plan.config) in ("every", "true"):
        size, export = size + export, 0
    return Checkpoints(
        directory=directory,
        steps=steps.max_steps,
        every=steps.ckpt_every if steps.ckpt_every and steps.ckpt_every > 0 else None,
        keep=kept_checkpoints(plan.config),
        bytes=size,
        export_bytes=export,
        directory_key=CHECKPOINT_DIR,
        every_key=CKPT_EVERY,
        keep_key=KEEP_CHECKPOINTS,
        asynchronous=loader.value(plan.config, ASYNC_SAVE) is True,
        async_key=ASYNC_SAVE,
    )


def _bytes(plan: Plan) -> tuple[int | None, int]:
    """(of a checkpoint, of the export)."""
    model = shape.read(plan.config, plan.visible)
    count = parameters.count(model) if model else None
    if model is None or count is None:
        return None, 0
    each = BYTES.get(section.precision(plan.config) or model.stored_as or "bfloat16", 2)
    trained = count.total * lora.share(plan.config, model, count.total)
    return round(trained * each * (1 + moments(section.optimizer(plan.config)))), count.total * each
