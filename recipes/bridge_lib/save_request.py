"""A checkpoint, or a profile, on request for Megatron-Bridge 0.3.1, after which the training goes on; see
pretrain_lib/requests.py and pretrain_lib/profiling.py.

Its loop asks once an iteration, by an all-gather, whether a rank has got a signal, and then decides on saves; rank 0's
wish travels in that message, and the save comes after the loop's own decision, with the loop's own function.
"""

from __future__ import annotations

import os
from typing import Any

import contract
from pretrain_lib.profiling import Profiles
from pretrain_lib.requests import Gather, SaveOnRequest, signals_received


def hear(state: Any) -> Profiles | None:
    """Have a training that begins save and profile when it is asked to; not where it does not ask for signals.

    What it can profile with; it saves nothing where it has no place for that.
    """
    job_dir = os.environ.get(contract.JOB_DIR_VAR)
    if not job_dir or not state.cfg.train.exit_signal_handler or not hasattr(state.signal_handler, "_signal_received"):
        return None
    from megatron.bridge.training import train

    names = ("checkpoint_and_decide_exit", "save_checkpoint_and_time")
    profiles = Profiles(job_dir, lambda: int(state.cfg.train.train_iters))
    if state.cfg.checkpoint.save and all(callable(getattr(train, name, None)) for name in names):
        install(train, state, SaveOnRequest(job_dir), _gather(), profiles)
    else:
        handler = state.signal_handler
        handler.signals_received = signals_received(handler, None, _gather(), lambda: _step(state), profiles)
    profiles.hear()
    return profiles


def install(train: Any, state: Any, saves: SaveOnRequest, gather: Gather, profiles: Profiles | None = None) -> None:
    """Put `saves` behind the decision of Megatron-Bridge's module `train`, which looks it up by name each time."""
    decide, save, handler = train.checkpoint_and_decide_exit, train.save_checkpoint_and_time, state.signal_handler
    handler.signals_received = signals_received(handler, saves, gather, lambda: _step(state), profiles)

    def checkpoint_and_decide_exit(state: Any, *args: Any, **kwargs: Any) -> bool:
        ends = bool(decide(state, *args, **kwargs))
        if not ends and saves.step == _step(state):
            every = state.cfg.checkpoint.save_interval
            if not (every and state.train_state.step % every == 0):  # else it has just been saved
                *most, data = (*args, *kwargs.values())
                save(state, *most, train_data_iterator=data)
            saves.saved(_step(state))
        return ends

    train.checkpoint_and_decide_exit = checkpoint_and_decide_exit
    saves.answer(None)


def _step(state: Any) -> int:
    """From 0, where iterations count from 1."""
    return int(state.train_state.step) - 1


def _gather() -> Gather:
    import torch
    from megatron.bridge.training.utils.sig_utils import all_gather_item

    return lambda number: list(all_gather_item(number, dtype=torch.int32))
