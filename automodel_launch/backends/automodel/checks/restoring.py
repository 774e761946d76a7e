"""`checkpoint.restore_from`: a directory that AutoModel has saved, as far as this machine sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from automodel_launch.backends.automodel import keys, loader, starts
from automodel_launch.backends.data import weights
from automodel_launch.config import dotted
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_PARTS = ("model", "optim")  # of a checkpoint; components/checkpoint/checkpointing.py


def restored(plan: Plan) -> Iterator[Finding]:
    """Looked for when the model is built: without it the job ends there."""
    value = dotted.get(plan.config, keys.RESTORE)
    if (
        not isinstance(value, str)
        or not value.startswith("/")
        or "$" in value
        or not plan.visible
        or plan.promise(value)
    ):
        return
    place = mounts_.outside(value, plan.mounts) if plan.mounts else value
    if place is None or mounts_.has_variable(place):
        return
    try:
        names = {path.name for path in Path(place).iterdir()}
    except FileNotFoundError:
        why = "there is no such directory"
    except NotADirectoryError:
        why = "is no directory"
    except OSError:  # who may not look there cannot tell
        return
    else:
        missing = [part for part in _PARTS if part not in names]
        if not missing:
            return
        why = f"holds no {' and no '.join(missing)}/, so it is no checkpoint"
    fix = f"a directory such as RUN_DIR/checkpoints/epoch_0_step_99; ~{keys.RESTORE} for a run from its beginning"
    yield Finding("error", "no-model", f"{describe(plan, keys.RESTORE)}: {why}.", fix)


def begun_with(plan: Plan) -> Iterator[Finding]:
    """The weights of `from_pretrained`, of which AutoModel says in many words that a checkpoint has none."""
    if dotted.get(plan.config, keys.RESTORE) is not None:
        return
    loaded = {f"{keys.MODEL}.{keys.PRETRAINED}": starts.begins_with(plan.config)}
    if loader.recipe_class(plan.config) == loader.DISTILLATION:
        loaded[keys.TEACHER] = dotted.get(plan.config, keys.TEACHER)
    for key, value in loaded.items():
        yield from weights.check(plan, key, value)


CHECKS = (restored, begun_with)
