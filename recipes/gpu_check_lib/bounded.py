"""Calls that may never return (a file system that hangs, a driver that hangs), each in a process of its own.

A process in uninterruptible sleep cannot be killed, and waiting for it would hang its parent: it is left behind.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, cast

FORK = multiprocessing.get_context("fork")


class Calls:
    """Started at once, side by side; `results` waits for them."""

    def __init__(self, calls: Mapping[str, Callable[[], Any]], limit_s: float) -> None:
        self._end = time.monotonic() + limit_s
        self._open: dict[Any, tuple[str, Any]] = {}
        for name, function in calls.items():
            ours, theirs = FORK.Pipe(duplex=False)
            process = FORK.Process(target=_answer, args=(theirs, function), daemon=True)
            process.start()
            theirs.close()
            self._open[ours] = (name, process)

    def results(self) -> dict[str, Any]:
        """What each call has returned; nothing for one that did not, or raised."""
        found: dict[str, Any] = {}
        while self._open:
            ready = wait(list(self._open), max(0.0, self._end - time.monotonic()))
            if not ready:
                break
            for connection in cast("list[Connection]", ready):
                name, process = self._open.pop(connection)
                try:
                    found[name] = connection.recv()
                    process.join(1.0)
                except (EOFError, OSError):  # it died
                    pass
        for _, process in self._open.values():
            process.kill()
        self._open.clear()
        return found


def _answer(connection: Connection, function: Callable[[], Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    connection.send(function())
