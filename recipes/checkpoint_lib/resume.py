"""Puts the choice into AutoModel 0.7.0, in the two places where it matters that a checkpoint is complete.

Loading: BaseRecipe.load_checkpoint, which every rank calls at the end of setup(), when torch.distributed is up. Rank 0
looks, and renames what is damaged, before any rank asks AutoModel which checkpoint is the latest.

Retention: `checkpoint.max_recent_checkpoints` deletes older checkpoints after each save, without a look at what it
keeps. It is held back while the newest checkpoint is not complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .choice import NoneComplete, read_pointer, settle
from .faults import find_faults, in_short

Say = Callable[[str], None]

_SEEN_WITHIN_S = 90.0  # NFS clients may show a directory as it was up to a minute ago
_LOOK_EVERY_S = 1.0


class CannotResume(Exception):
    """There is no complete checkpoint, or it could not be found out; the message is one line."""


def watch_over(recipe: Any, say: Say) -> None:
    """Have `recipe` resume from complete checkpoints only, and never delete the last of them.

    A recipe class with a load_checkpoint or a layout of its own is left as it is. `say` prints on rank 0.
    """
    from nemo_automodel.recipes.base_recipe import BaseRecipe

    if getattr(type(recipe), "load_checkpoint", None) is not BaseRecipe.load_checkpoint:
        return
    load = recipe.load_checkpoint

    def load_complete(restore_from: str | None = None) -> None:
        config = recipe.checkpointer.config
        root = Path(config.checkpoint_dir)
        if config.enabled and hasattr(recipe, "step_scheduler") and not str(config.checkpoint_dir).startswith("msc:"):
            if not restore_from or restore_from.upper() == "LATEST":
                _settle_together(root, say)
            else:
                _warn_of_faults(root, restore_from, say)
            hold_retention(recipe.checkpointer.lifecycle, root, say)
            hold_best(recipe.checkpointer.lifecycle, say)
        load(restore_from)

    recipe.load_checkpoint = load_complete


def _settle_together(root: Path, say: Say) -> None:
    """Rank 0 settles; every rank goes on once AutoModel's search on its own node finds the same.

    Raises:
        CannotResume: On every rank alike.
    """
    from nemo_automodel.components.checkpoint.utils import find_latest_checkpoint

    chosen = settled_by_rank_0(lambda: settle(root), say)

    def shows() -> str | None:
        found = find_latest_checkpoint(root)
        return None if (found and Path(found).name) == chosen else f"but this node's file system shows {found}"

    wait_for_view(shows, f"{root}: rank 0 resumes from {chosen}")


def settled_by_rank_0(settle: Callable[[], tuple[Path | None, list[str]]], say: Say) -> str | None:
    """The name of the checkpoint that rank 0 has settled on, on every rank; `settle` returns it, and lines to say.

    Raises:
        CannotResume: On every rank alike.
    """

    def settled() -> tuple[str | None, list[str], str | None]:
        try:
            chosen, lines = settle()
        except (NoneComplete, OSError) as error:
            return None, [], str(error)
        return (chosen.name if chosen else None), lines, None

    chosen, lines, error = from_rank_0(settled)
    for line in lines:
        say(line)
    if error:
        raise CannotResume(error)
    return str(chosen) if chosen else None


def wait_for_view(shows: Callable[[], str | None], what: str) -> None:
    """Until this node's file system shows what rank 0 has seen; `shows` says what it shows in its place.

    Raises:
        CannotResume: It does not within the time for which NFS clients may show an old directory.
    """
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while (other := shows()) is not None:
        if time.monotonic() > deadline:
            raise CannotResume(f"{what}, {other}")
        time.sleep(_LOOK_EVERY_S)


def from_rank_0(act: Callable[[], Any]) -> Any:
    """What `act` returns on rank 0, on every rank."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return act()
    result = [act() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(result, src=0)
    return result[0]


def _warn_of_faults(root: Path, restore_from: str, say: Say) -> None:
    """A checkpoint that somebody has named is loaded all the same: faults.py may not know its layout."""

    def probe() -> list[str]:
        path = root / restore_from if "/" not in restore_from else Path(restore_from)
        try:
            return find_faults(path.resolve())
        except OSError as error:
            return [str(error)]

    faults = from_rank_0(probe)
    if faults:
        say(f"checkpoint.restore_from={restore_from}: it looks damaged: {in_short(faults)}; loading it all the same")


def hold_retention(lifecycle: Any, root: Path, say: Say) -> None:
    """Let AutoModel's CheckpointLifecycle prune only while the checkpoint that LATEST names is complete."""
    prune = lifecycle._prune_old_checkpoints

    def prune_if_complete() -> None:
        if lifecycle.config.max_recent_checkpoints is None:
            return
        newest = read_pointer(root)
        try:
            faults = find_faults(newest) if newest else ["LATEST is missing"]
        except OSError as error:
            faults = [str(error)]
        if faults:
            say(f"no old checkpoint is deleted: {newest.name if newest else root} is not complete: {in_short(faults)}")
            return
        prune()

    lifecycle._prune_old_checkpoints = prune_if_complete


def hold_best(lifecycle: Any, say: Say) -> None:
    """Keep LOWEST_VAL, and with it AutoModel's retention, from a validation in which no token counted.

    AutoModel 0.7.0 tells that one's loss as 0.0, which nothing is below.
    """
    update, initialize = lifecycle._update_best_checkpoint, lifecycle._initialize_best_val_loss_from_pointer

    def update_if_measured(target_dir: str, val_loss: float, metric_key: str | None) -> None:
        if val_loss == 0.0:
            say(f"{Path(target_dir).name}: no token counted in its validation, so it is not compared for LOWEST_VAL")
            return
        update(target_dir, val_loss, metric_key)

    def initialize_if_measured(metric_key: str | None) -> None:
        initialize(metric_key)
        if lifecycle._best_val_loss == 0.0:  # what a job without this has left
            lifecycle._best_val_loss = float("inf")

    lifecycle._update_best_checkpoint = update_if_measured
    lifecycle._initialize_best_val_loss_from_pointer = initialize_if_measured
