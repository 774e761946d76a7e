"""How the loop ended, and finished.json, by which a run that has reached its end is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoint_lib.megatron import choice
from pretrain_lib.finished import finished_already, write_finished
from pretrain_lib.output import say


def report(config: Any, steps: Any, code: object) -> int:
    """Say how the training ended, record the end where it is one; returns the exit code.

    `code` is that of SystemExit, with which Megatron-Bridge leaves its loop early: after a signal, a limit of its own
    (exit_interval, exit_duration_in_mins) or a fault that its rerun machine has found (16, 17). None: it has returned.
    """
    if steps.state is None:
        say("no training: train.skip_train, or train_iters is 0")
        return _number(code)
    step, wanted = int(steps.state.train_state.step), int(config.train.train_iters)
    checkpoint = _newest(config)
    if step >= wanted and not _number(code):
        if step == steps.first:
            say("nothing left to do: this run has reached its end before")
        write_finished(step, wanted, checkpoint)
        return 0
    if _number(code):
        say(f"stopped with exit code {_number(code)} at step {step} of {wanted}; checkpoint {checkpoint}")
        return _number(code)
    why = "by signal" if _signalled(steps.state) else "by a limit of the config (train.exit_interval or others)"
    say(f"stopped {why} at step {step}; checkpoint {checkpoint}")
    return 0


def already_finished(sections: Mapping[str, Any]) -> bool:
    """Tells whether finished.json says that the run has reached its end, before anything slow is imported."""
    train = sections.get("train")
    return finished_already(train.get("train_iters") if isinstance(train, Mapping) else None)


def _signalled(state: Any) -> bool:
    return bool(getattr(state.signal_handler, "_signal_received", False))


def _newest(config: Any) -> str | None:
    """The newest complete checkpoint that the run has saved."""
    if not config.checkpoint.save:
        return None
    found = choice.choose(Path(config.checkpoint.save)).chosen
    return None if found is None else str(found.resolve())


def _number(code: object) -> int:
    return 0 if code is None else code if isinstance(code, int) else 1
