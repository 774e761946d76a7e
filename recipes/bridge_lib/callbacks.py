"""What is done at each step of Megatron-Bridge's loop: phases and heartbeats are told, and SIGTERM is heard."""

from __future__ import annotations

from typing import Any

from ft_heartbeat import Heartbeat
from megatron.bridge.training.callbacks import Callback
from pretrain_lib import phase
from pretrain_lib.output import say
from pretrain_lib.profiling import Profiles

from . import save_request


class Steps(Callback):  # type: ignore[misc]  # of a package without types
    """One training. After it, `state` tells what was reached.

    Attributes:
        state: Megatron-Bridge's GlobalState; None before the loop has begun.
        first: the iteration that the loop began with.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.state: Any = None
        self.first: int | None = None
        self.profiles: Profiles | None = None
        self._heartbeat = heartbeat

    def on_train_start(self, context: Any) -> None:
        """The loop begins, at the step of the checkpoint that was loaded."""
        self.state, self.first = context.state, context.state.train_state.step
        hear_signals(context.state)
        self.profiles = save_request.hear(context.state)
        phase.enter(phase.FIRST_STEP)

    def on_train_step_start(self, context: Any) -> None:
        """A step begins; iterations count from 1, steps from 0."""
        if self.profiles is not None:
            self.profiles.begins(int(context.state.train_state.step))

    def on_train_step_end(self, context: Any) -> None:
        """A step is done; it is counted and logged after this."""
        if self.profiles is not None:
            self.profiles.ended(int(context.state.train_state.step))
        phase.enter(None)
        phase.pulse()
        self._heartbeat.beat()

    def on_eval_start(self, context: Any) -> None:
        """Validation, between two steps or after the last one."""
        phase.enter("validation")

    def on_eval_step_end(self, context: Any) -> None:
        """A batch of it."""
        phase.pulse()
        self._heartbeat.beat()

    def on_eval_end(self, context: Any) -> None:
        """Back to the steps."""
        phase.enter(None)

    def on_test_start(self, context: Any) -> None:
        """After the last step."""
        phase.enter("test")

    on_test_step_end = on_eval_step_end


def hear_signals(state: Any) -> None:
    """Enter the handler of train.exit_signal.

    Megatron-Bridge 0.3.0 to 0.5.1 builds it and asks it after every step, and never enters it: SIGTERM kills the ranks,
    and nothing is saved. A release that enters it before the loop is left alone.
    """
    if not state.cfg.train.exit_signal_handler:
        say("train.exit_signal_handler=false: a signal ends the ranks at once, and nothing is saved")
        return
    handler = state.signal_handler
    if getattr(handler, "original_handler", None) is None:
        handler.__enter__()
