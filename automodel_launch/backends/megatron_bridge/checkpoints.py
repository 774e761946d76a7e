"""How many checkpoints a run writes, where, and how large they are.

One of `torch_dist` holds the weights in the type in which they are trained, and of the distributed optimizer a float32
copy of them and two moments (megatron/core/optimizer/distrib_optimizer.py): 14 bytes a parameter with bf16.
"""

from __future__ import annotations

from automodel_launch.backends import Checkpoints, Config
from automodel_launch.backends.megatron_bridge import keys, model, settings, training
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.config import dotted
from automodel_launch.plan.plan import Plan

_MASTER, _MOMENTS = 4, 2


def checkpoint_dir(config: Config, run_dir: str) -> str | None:
    """checkpoint.save; where it is not given, the directory that recipes/bridge_lib takes. None: it is null."""
    folder = dotted.get(config, keys.SAVE) if dotted.has(config, keys.SAVE) else f"{run_dir}/checkpoints"
    return folder if isinstance(folder, str) else None


def every(known: Settings) -> int | None:
    """Steps between two checkpoints; None: at the end only."""
    found = known.number(keys.SAVE_EVERY)
    return found if found and found > 0 else None


def kept(known: Settings) -> int | None:
    """How many recent ones stay; None: all, which is what -1 means, too."""
    found = known.number(keys.KEEP)
    return found if found and found > 0 else None


def of(plan: Plan) -> Checkpoints | None:
    """The checkpoints of a plan's run."""
    steps, directory = training.iterations(plan.config), checkpoint_dir(plan.config, plan.run_dir)
    if not steps or steps < 1 or directory is None:
        return None
    known = settings.of(plan.config)
    return Checkpoints(
        directory=directory,
        steps=steps,
        every=every(known),
        keep=kept(known),
        bytes=_bytes(known, plan.visible),
        export_bytes=0,
        directory_key=keys.SAVE,
        every_key=keys.SAVE_EVERY,
        keep_key=keys.KEEP,
        asynchronous=known.value(keys.ASYNC) is True,
        async_key=keys.ASYNC if known.value(keys.CKPT_FORMAT) in (None, "torch_dist") else None,
    )


def _bytes(known: Settings, look: bool) -> int | None:
    count = model.parameters(known, look)
    if count is None or known.value("peft") is not None or (known.recipe and "_peft_" in known.recipe.name):
        return None  # of PEFT only the adapter is saved
    weight = 4 if known.written(keys.PRECISION) and known.value(keys.PRECISION) is None else 2
    master = _MASTER if weight < _MASTER else 0
    optimizer = master + _MOMENTS * _bytes_of(known)
    saved = known.value("checkpoint.save_optim")
    return count * (weight + (optimizer if saved is not False else 0))


def _bytes_of(known: Settings) -> int:
    """Bytes of a moment."""
    precise = known.value("optimizer.use_precision_aware_optimizer") is True
    return 2 if precise and "16" in str(known.value("optimizer.exp_avg_dtype")) else 4
