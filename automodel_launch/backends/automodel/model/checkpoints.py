"""How many checkpoints a run writes, and how large they are.

A checkpoint holds the weights and the optimizer's states in the type in which they are stored (nemo_automodel,
components/checkpoint); the last one also an export for transformers, in the published type.
"""

from __future__ import annotations

from automodel_launch.backends import Checkpoints
from automodel_launch.backends.automodel import keys
from automodel_launch.backends.automodel.model import parameters, shape
from automodel_launch.backends.automodel.model.memory import BYTES, moments
from automodel_launch.plan.plan import Plan


def of(plan: Plan) -> Checkpoints | None:
    """The checkpoints of a plan's run; None where there are none, or no number of steps."""
    steps, directory = keys.steps(plan.config), keys.checkpoint_dir(plan.config)
    if steps is None or not steps.max_steps or directory is None:
        return None
    size, export = _bytes(plan)
    return Checkpoints(
        directory=directory,
        steps=steps.max_steps,
        every=steps.ckpt_every if steps.ckpt_every and steps.ckpt_every > 0 else None,
        keep=keys.kept_checkpoints(plan.config),
        bytes=size,
        export_bytes=export if keys.consolidates(plan.config) else 0,
        directory_key=keys.CHECKPOINT_DIR,
        every_key=keys.CKPT_EVERY,
        keep_key=keys.KEEP_CHECKPOINTS,
    )


def _bytes(plan: Plan) -> tuple[int | None, int]:
    """(of a checkpoint, of the export)."""
    model = shape.read(plan.config, plan.visible)
    count = parameters.count(model) if model else None
    if model is None or count is None:
        return None, 0
    each = BYTES.get(keys.precision(plan.config) or model.stored_as or "bfloat16", 2)
    return count.total * each * (1 + moments(keys.optimizer(plan.config))), count.total * each
