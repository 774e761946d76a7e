"""The agent's loop: wakes up for signals and ended children, and reaps every child, adopted orphans included."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any, Callable

_TICK_S = 0.25
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Loop:
    """Contract: one per process, made on the main thread. Nothing else in the process may wait for children."""

    def __init__(self, arriving: int, take: Callable[[], None]) -> None:
        """`take` is called when there is something to read at `arriving`, and again and again."""
        self._arriving, self._take = arriving, take
        self.ended: dict[int, int] = {}  # pid -> wait status
        self._signals: list[tuple[int, float]] = []
        self._next: dict[str, float] = {}
        self._wake, write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in _STOP_SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup stays nohup
                signal.signal(signum, self._note)

    def _note(self, signum: int, _frame: Any) -> None:
        self._signals.append((signum, time.monotonic()))

    def wait(self) -> list[tuple[int, float]]:
        """A quarter of a second, less if anything happens; returns the stop signals that came, and when (monotonic)."""
        if self._wake in select.select([self._wake, self._arriving], [], [], _TICK_S)[0]:
            os.read(self._wake, 4096)
        self.reap()
        signals, self._signals = self._signals, []
        return signals

    def reap(self) -> None:
        """Collect every ended child into `ended`, and what it has written."""
        self._take()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended[pid] = status

    def due(self, what: str, every_s: float) -> bool:
        """True the first time, then once every so many seconds."""
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + every_s
        return True
