"""What this rank is at, told to the node agent: `compiling the data helper`, `validation`, nothing in steps.

One rank of each node tells, the one to which the agent has given LAUNCH_PHASE_FILE; for the others nothing here does
anything. The file holds {"phase": text or null, "since": unix seconds}; its time of modification moves while the rank
goes on within a phase (see pulse). What is over stands, a line each, in contract.past_phases(that file). It is for
people who wait, for the agent's watch over hangs (stall = "auto"), and for what says where the time went.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import contract

FIRST_STEP = "computing (kernels are being compiled)"
_PULSE_S = 1.0
_AROUND = {  # of AutoModel 0.7.0's recipes; each is called on every rank
    "load_checkpoint": "loading the checkpoint",
    "save_checkpoint": contract.PHASE_SAVING,
    "_run_validation_epoch": contract.PHASE_VALIDATION,
}
_OFTEN = ("_forward_backward_step",)  # once a micro-batch, in training and in validation


class _Teller:
    """The phase of this process."""

    def __init__(self) -> None:
        self.phase: str | None = None
        self.since = 0.0
        self.pulsed = 0.0

    def change(self, phase: str | None) -> None:
        now = time.time()
        over = (self.phase, self.since, now)
        self.phase, self.since = phase, now
        path = os.environ.get(contract.PHASE_VAR)
        if not path:
            return
        temporary = Path(f"{path}.{os.getpid()}")
        with contextlib.suppress(OSError):  # what is told here is worth no failure
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(dict(zip(contract.PHASE_KEYS, (phase, now), strict=True)), file)
            temporary.replace(path)
            if over[0] is not None:
                with Path(contract.past_phases(path)).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(dict(zip(contract.PAST_PHASE_KEYS, over, strict=True))) + "\n")


_teller = _Teller()


def enter(phase: str | None) -> None:
    """From now on this rank is at `phase`; None: it takes steps."""
    if phase != _teller.phase:
        _teller.change(phase)


@contextlib.contextmanager
def during(phase: str) -> Iterator[None]:
    """This rank is at `phase` meanwhile, and then again at what it was at before."""
    before = _teller.phase
    enter(phase)
    try:
        yield
    finally:
        enter(before)


def pulse() -> None:
    """This rank goes on, whatever it is at."""
    now = time.monotonic()
    path = os.environ.get(contract.PHASE_VAR)
    if path and now - _teller.pulsed >= _PULSE_S:
        _teller.pulsed = now
        with contextlib.suppress(OSError):
            os.utime(path)


def tell_of(recipe: Any) -> None:
    """Have `recipe` tell what it does; what it lacks of AutoModel's methods is not told."""
    if not os.environ.get(contract.PHASE_VAR):
        return
    for name, phase in _AROUND.items():
        _wrap(recipe, name, functools.partial(_around, phase))
    for name in _OFTEN:
        _wrap(recipe, name, _pulsing)
    _wrap(recipe, "log_train_metrics", _ending_the_first)


def _wrap(recipe: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    method = getattr(recipe, name, None)
    if callable(method):
        setattr(recipe, name, functools.wraps(method)(wrapper(method)))


def _around(phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with during(phase):
            return method(*args, **kwargs)

    return call


def _pulsing(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        pulse()
        return method(*args, **kwargs)

    return call


def _ending_the_first(method: Callable[..., Any]) -> Callable[..., Any]:
    """A step was logged: whatever comes next is the training itself."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        enter(None)
        return result

    return call
