"""A checkpoint on request, after which the training goes on: JOB_DIR/request asks rank 0 for it.

All ranks have to save at one step. AutoModel 0.7.0 asks once a step, by an all-gather over all ranks, whether any of
them has got a signal; rank 0's wish travels in the same message, as a further bit, so it costs none of its own. So does
that for a profile (profiling.py).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contract

from . import profiling
from .output import is_main
from .profiling import Profiles

_STOP, _SAVE = 1, 2  # bits of the message
_LOOK_EVERY_S = 1.0

Gather = profiling.Gather


class SaveOnRequest:
    """Looks for requests on rank 0; `step` is the one that all ranks have agreed to save."""

    def __init__(self, job_dir: str) -> None:
        self._job_dir = Path(job_dir)
        self._looked = 0.0
        self._done = self._asked()
        self._wanted: str | None = None
        self.step: int | None = None

    def wish(self) -> int:
        """_SAVE where this is rank 0 and somebody has asked; it looks once a second at most."""
        now = time.monotonic()
        if is_main() and self._wanted is None and now - self._looked >= _LOOK_EVERY_S:
            self._looked, asked = now, self._asked()
            if asked is not None and asked != self._done:
                self._wanted = self._done = asked
        return _SAVE if self._wanted is not None else 0

    def saved(self, step: int) -> None:
        """Tell that the save of this step is over, if that was asked for."""
        if self._wanted is not None and self.step == step:
            self.answer(self._wanted, step)
            self._wanted = None

    def answer(self, number: str | None, step: int | None = None) -> None:
        """Write it down; without a number, that requests are heard."""
        if not is_main():
            return
        path = self._job_dir / contract.ANSWERS / f"{contract.TRAINING}.json"
        told = dict(zip(contract.ANSWER_KEYS, (number, time.time(), contract.REQUEST_SAVE, step), strict=True))
        with contextlib.suppress(OSError):  # a full disk must not end the training
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(told), encoding="utf-8")
            partial.replace(path)

    def _asked(self) -> str | None:
        try:
            asked = json.loads((self._job_dir / contract.REQUEST).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        mine = isinstance(asked, dict) and asked.get("what") == contract.REQUEST_SAVE
        return asked["id"] if mine and isinstance(asked.get("id"), str) else None


def hear(recipe: Any) -> Profiles | None:
    """Have a recipe that was set up save, and profile, when it is asked to; what it can profile with, to be closed.

    Nothing outside a job, or where it has other parts.
    """
    job_dir, scheduler = os.environ.get(contract.JOB_DIR_VAR), getattr(recipe, "step_scheduler", None)
    handler = getattr(scheduler, "sig_handler", None)
    known = isinstance(getattr(type(scheduler), "is_ckpt_step", None), property)
    known = known and all(hasattr(handler, name) for name in ("_signal_received", "signals_received", "group"))
    if not job_dir or not known or not callable(getattr(recipe, "save_checkpoint", None)):
        return None
    profiles: Profiles | None = Profiles(job_dir, lambda: int(getattr(scheduler, "max_steps", 0)))
    if profiles and not _around_steps(recipe, profiles):
        profiles = None
    install(recipe, SaveOnRequest(job_dir), _gather(handler), profiles)
    return profiles


def _around_steps(recipe: Any, profiles: Profiles) -> bool:
    """Have a recipe tell of its steps; whether it has such a method."""
    take = getattr(recipe, "_run_train_optim_step", None)  # of AutoModel 0.7.0's recipes, on every rank
    if not callable(take):
        return False

    @functools.wraps(take)
    def step(*args: Any, **kwargs: Any) -> Any:
        number = int(recipe.step_scheduler.step)
        profiles.begins(number)
        result = take(*args, **kwargs)
        profiles.ended(number)
        return result

    recipe._run_train_optim_step = step
    return True


def signals_received(
    handler: Any, saves: SaveOnRequest | None, gather: Gather, step: Callable[[], int], profiles: Profiles | None = None
) -> Callable[[], list[bool]]:
    """In place of the handler's own, which gathers _signal_received alone; `step` is the one that is over.

    That is never written here: a signal that came meanwhile would be lost.
    """

    def received() -> list[bool]:
        wishes = (saves.wish() if saves else 0) | (profiles.wish() if profiles else 0)
        found = gather((_STOP if handler._signal_received else 0) | wishes)
        if saves and any(number & _SAVE for number in found):
            saves.step = step()
        if profiles and any(number & ~(_STOP | _SAVE) for number in found):
            profiles.agree(found, gather, step())
        return [bool(number & _STOP) for number in found]

    return received


def install(recipe: Any, saves: SaveOnRequest, gather: Gather, profiles: Profiles | None = None) -> None:
    """Put `saves` between the recipe and its scheduler; `gather` brings a number of each rank to all."""
    scheduler = recipe.step_scheduler
    handler, kind, save = scheduler.sig_handler, type(scheduler), recipe.save_checkpoint

    class OnRequest(kind):  # type: ignore[misc, valid-type]  # a property cannot be replaced on an instance
        @property
        def is_ckpt_step(self) -> bool:
            return bool(kind.is_ckpt_step.fget(self)) or saves.step == self.step

    @functools.wraps(save)
    def save_checkpoint(epoch: Any, step: int, *args: Any, **kwargs: Any) -> Any:
        result = save(epoch, step, *args, **kwargs)
        saves.saved(step)
        return result

    handler.signals_received = signals_received(handler, saves, gather, lambda: int(scheduler.step), profiles)
    scheduler.__class__ = OnRequest
    recipe.save_checkpoint = save_checkpoint
    saves.answer(None)
    if profiles:
        profiles.hear()


def _gather(handler: Any) -> Gather:
    import torch
    from nemo_automodel.components.training.signal_handler import all_gather_item

    return lambda number: list(all_gather_item(number, dtype=torch.int32, group=handler.group))
