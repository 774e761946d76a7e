"""Where Megatron-Bridge 0.3.1 asks for checkpoints: the one to load, and the old ones to delete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..faults import in_short
from ..resume import CannotResume, Say, from_rank_0, settled_by_rank_0, wait_for_view
from . import faults, retention
from .choice import LATEST_STATE, settle

__all__ = ["CannotResume", "hold_retention", "settle_together"]

_FORMATS = ("torch_dist", "fsdp_dtensor")


def settle_together(checkpoint: Any, say: Say) -> None:
    """Rank 0 settles; every rank loads what it has chosen, by checkpoint.ckpt_step, once its own node shows it.

    `checkpoint` is the section of the config. What somebody has named by ckpt_step is loaded in any case. Where `load`
    is not where this run saves, nothing is changed there.

    Raises:
        CannotResume: On every rank alike: there are checkpoints, and none is complete.
    """
    if not checkpoint.load or "://" in str(checkpoint.load) or checkpoint.ckpt_format not in _FORMATS:
        return
    root = Path(checkpoint.load)
    if checkpoint.ckpt_step is not None:
        _warn_of_faults(root / f"iter_{checkpoint.ckpt_step:07d}", say)
        return
    own = bool(checkpoint.save) and Path(checkpoint.save).resolve() == root.resolve()
    chosen = settled_by_rank_0(lambda: settle(root, repair=own), say)
    if chosen is None:
        return

    def shows() -> str | None:
        there = (root / chosen / faults.TRAIN_STATE).exists() and (root / LATEST_STATE).exists()
        return None if there else "which this node's file system does not show"

    wait_for_view(shows, f"{root}: rank 0 resumes from {chosen}")
    checkpoint.ckpt_step = faults.iteration(Path(chosen))


def _warn_of_faults(checkpoint: Path, say: Say) -> None:
    def probe() -> list[str]:
        try:
            return faults.find_faults(checkpoint)
        except OSError as error:
            return [str(error)]

    found = from_rank_0(probe)
    if found:
        say(f"{checkpoint.name}, which checkpoint.ckpt_step names: {in_short(found)}; loading it all the same")


def hold_retention(save: str | None, say: Say) -> None:
    """Have Megatron-Bridge delete old checkpoints of `save` only while enough complete ones stay.

    0.3.1 counts every iter_*: also the one whose save has just been started in the background (async_save), so that
    most_recent_k=1 deletes the only complete checkpoint; and it stops at any name that does not end in a number.
    """
    from megatron.bridge.training import checkpointing

    own = checkpointing.cleanup_old_non_persistent_checkpoint

    def cleanup(save_dir: str, leave_ckpt_num: int = 1, do_async: bool = False) -> None:
        """In place of the function of this name."""
        import torch.distributed as dist

        if save is None or str(save_dir) != str(save):
            own(save_dir, leave_ckpt_num, do_async)
        elif not dist.is_initialized() or dist.get_rank() == 0:
            deleted = retention.prune(Path(save_dir), leave_ckpt_num, say)
            if deleted:
                say(f"deleted: {', '.join(path.name for path in deleted)} (most_recent_k = {leave_ckpt_num})")

    checkpointing.cleanup_old_non_persistent_checkpoint = cleanup
