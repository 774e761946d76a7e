"""metrics.jsonl -> experiment trackers, for scripts whose framework logs to none (`track` in the profile).

A process of its own for each tracker beside node 0's ranks, of their Python and with their environment. Whatever
becomes of it the job does not see: the ranks never wait for it, and the agent does so at the end for some seconds.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Callable, Mapping, Sequence

from .log import AgentLog
from .loop import Loop

PATIENCE_S = 10.0  # at the end, for what a tracker still has to send
HURRY_S = 3.0  # the same where the job was stopped: its time may be short


class Tracking:
    """Contract: `start` once the ranks were started, `end` when metrics.jsonl holds everything."""

    def __init__(self, loop: Loop, log: AgentLog) -> None:
        self._loop = loop
        self._log = log
        self._running: dict[int, tuple[str, int]] = {}  # pid -> tracker, the pipe whose closing ends it

    def start(
        self, targets: Sequence[str], python: str, agent: str, place: Sequence[str], environ: Mapping[bytes, bytes]
    ) -> None:
        """Begin; `place`: the job's directory, the run's directory, the run's name."""
        for target in targets:
            read, write = os.pipe()
            try:
                process = subprocess.Popen(
                    [python, agent, "track", target, *place],
                    env=environ,
                    stdin=read,
                    stdout=self._log.output,
                    stderr=self._log.output,
                    start_new_session=True,
                )
            except OSError as error:
                self._log.say(f"track {target}: {error}")
                os.close(write)
            else:
                process.returncode = 0  # the agent's loop reaps it
                self._running[process.pid] = target, write
            os.close(read)

    def end(self, hurried: Callable[[], bool]) -> None:
        """Have all of them send the rest and end; what has not ended by then is killed with what else is left."""
        for _, write in self._running.values():
            os.close(write)
        begun = time.monotonic()
        while set(self._running) - set(self._loop.ended):
            if time.monotonic() - begun > (HURRY_S if hurried() else PATIENCE_S):
                left = [self._running[pid][0] for pid in self._running if pid not in self._loop.ended]
                self._log.say(f"track {', '.join(left)}: has not ended, and is left behind; the next attempt goes on")
                break
            self._loop.reap()
            time.sleep(0.05)
        self._running.clear()
