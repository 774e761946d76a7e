"""Ctrl-C, SIGTERM and SIGHUP: collected while a job is submitted or followed, so that neither is torn in the middle."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interrupts:
    """Signals with the time (monotonic) at which each came; what to do about them is the caller's matter."""

    received: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Collect the signals instead of dying of them; nothing off the main thread, where Python delivers none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # nohup ignores SIGHUP, and means it. A script's `&` ignores SIGINT, which whoever sends it still means for us.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heard = [number for number in SIGNALS if number != signal.SIGHUP or not ignored]
        old = {number: signal.signal(number, self._note) for number in heard}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    @property
    def code(self) -> int:
        """The exit code of a command that the first signal has ended, as a shell tells it; 0 where none has come."""
        return 128 + self.received[0][0] if self.received else 0

    def deliver(self) -> None:
        """Let the first signal do what it does to a program that does not collect it."""
        if self.received:
            signal.raise_signal(self.received[0][0])

    def _note(self, number: int, _frame: Any) -> None:
        self.received.append((number, time.monotonic()))
