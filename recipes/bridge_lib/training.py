"""One training: Megatron-Bridge's own loop, between our resume and our end."""

from __future__ import annotations

import contextlib
from typing import Any

import ft_heartbeat
from checkpoint_lib.megatron.resume import CannotResume, hold_retention, settle_together
from pretrain_lib import phase
from pretrain_lib.output import say

from . import end, mlflow_run, relay

__all__ = ["CannotResume", "run"]


def run(config: Any, step_function: Any) -> int:
    """Train to the end, or until a signal or limit stops it; returns the exit code.

    Raises:
        CannotResume: there are checkpoints, and none is complete.
    """
    from megatron.bridge.training.pretrain import pretrain

    from .callbacks import Steps

    # with ft.enable_ft_package Megatron-Bridge talks to the monitor itself
    own = config.ft is not None and config.ft.enable_ft_package
    heartbeat = ft_heartbeat.Heartbeat(None, say) if own else ft_heartbeat.open_connection(say)
    steps = Steps(heartbeat)
    hold_retention(config.checkpoint.save, say)
    mlflow_run.keep_one(config.logger)
    code: object = None
    with contextlib.ExitStack() as stack:

        def before_the_model(model: Any) -> Any:
            """The first of Megatron-Bridge's hooks that is called on every rank once they can talk to each other."""
            stack.enter_context(relay.relay(getattr(config.model, "seq_length", None)))
            with phase.during("looking for the checkpoint to resume from"):
                settle_together(config.checkpoint, say)
            return model

        config.model.register_pre_wrap_hook(before_the_model)
        phase.enter("building the model and opening the data")
        try:
            pretrain(config=config, forward_step_func=step_function, callbacks=[steps])
        except SystemExit as exit_:
            code = exit_.code
        if steps.profiles is not None:
            steps.profiles.close()
        phase.enter("ending")
        heartbeat.close()
    return end.report(config, steps, code)
