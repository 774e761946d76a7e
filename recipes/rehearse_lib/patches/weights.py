"""Weights and checkpoints: none is read or written, but what would be read has to be there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..failure import Fault

if TYPE_CHECKING:
    from ..underway import Run

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.distcp", ".metadata")


def adapt(run: Run, node: Any) -> None:
    """Point the checkpoints at the rehearsal's own directory, and have nothing loaded."""
    given = str(node.get("checkpoint.checkpoint_dir", None) or "checkpoints/")
    if node.get("checkpoint", None) is not None:
        restore = node.get("checkpoint.restore_from", None)
        if isinstance(restore, str) and os.path.sep not in restore and restore.upper() not in ("LATEST", "LOWEST_VAL"):
            node.set_by_dotted("checkpoint.restore_from", str(Path(given) / restore))
        if "://" not in given:
            node.set_by_dotted("checkpoint.checkpoint_dir", str(run.scratch / f"checkpoints-{run.rank}"))
    _no_base_model()
    _no_checkpoint(run)


def _no_base_model() -> None:
    # AutoModel 0.7.0, infrastructure.py:653 and others: of a model of the Hub the files would be looked up, and where
    # nothing is loaded (_no_checkpoint) nobody would miss those of a directory.
    from nemo_automodel.components.checkpoint.checkpointing import Checkpointer

    def load_base_model(
        self: Any, model: Any, device: Any, root_dir: str, model_name: str | None, load_base_model: bool = True
    ) -> None:
        if load_base_model and model_name is not None and Path(model_name).is_dir():
            folder = Path(model_name)
            if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
                text = f"{folder} has no weights: no *.safetensors is there, and no *.bin"
                raise Fault("CheckpointException", text, "model.pretrained_model_name_or_path")
        self.config.original_model_root_dir = root_dir

    Checkpointer.load_base_model = load_base_model


def _no_checkpoint(run: Run) -> None:
    # AutoModel 0.7.0, base_recipe.py:540: a checkpoint's tensors and the loader's state would be read.
    from nemo_automodel.components.checkpoint.checkpointing import Checkpointer
    from nemo_automodel.recipes.base_recipe import BaseRecipe

    def load_nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        return None

    def look_at_the_rest(self: Any, folder: str) -> Any:
        for name in ("model", "optim", *_of_state(self)):
            if "://" not in folder and not Path(folder, name).exists():
                whose = f"which a checkpoint of {self._get_dp_group_size()} data-parallel ranks has"
                text = f"{Path(folder, name)}: no such file or directory, {whose}"
                raise Fault("FileNotFoundError", text, "checkpoint.restore_from")
        return self.model_parts, self.optimizer, None

    BaseRecipe._load_checkpoint_tracked_state = look_at_the_rest
    Checkpointer.load_model = load_nothing
    Checkpointer.load_optimizer = load_nothing
    if not run.request.job_python:  # what is on the job's disks cannot be looked at from here
        BaseRecipe.load_checkpoint = load_nothing


def _of_state(recipe: Any) -> Iterator[str]:
    """The files that AutoModel opens beside weights and optimizer; each data-parallel rank has one of its own."""
    from nemo_automodel.recipes import base_recipe as base

    elsewhere = (base.is_model, base.is_optimizer, base.is_lr_scheduler, base.is_distributed_stateful)
    others = (base.StatefulRNG, base.ConfigNode, base.RecipeConfig)
    for key in sorted(recipe.__dict__["__state_tracked"]):
        state = getattr(recipe, key)
        if base.is_dataloader(state):
            yield from (f"{key}/{key}_dp_rank_{rank}.pt" for rank in range(recipe._get_dp_group_size()))
        elif (
            not isinstance(state, others) and not base.is_tokenizer(state) and not any(is_(state) for is_ in elsewhere)
        ):
            yield f"{key}.pt"
