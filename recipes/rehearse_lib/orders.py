"""What the first process and the worker say to each other: JSON, one object a line."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import environment

READY, FAILED = "ready", "failed"  # the worker's first word
STAGE, ANSWER, DONE = "stage", "answer", "done"  # of a child, of a child, and of the worker when the child is gone


class WorkerGone(Exception):
    """The worker has ended without being asked to; the message says how."""


class TimeIsUp(Exception):
    """The rehearsal's time is over; the message names the stage that it was in."""


@dataclass
class Attempt:
    """What became of one order: a child's own answer, or how it died."""

    stage: str = "start"
    answer: dict[str, Any] | None = None
    signal: int = 0
    code: int = 0
    peak_bytes: int = 0

    def take(self, line: bytes) -> bool:
        """Take what a line of the worker's says; whether it was the last one."""
        said = json.loads(line)
        if STAGE in said:
            self.stage = said[STAGE]
        elif ANSWER in said:
            self.answer = said[ANSWER]
        elif DONE in said:
            self.signal, self.code, self.peak_bytes = said["signal"], said["code"], said["peak_bytes"]
        return DONE in said


@dataclass
class Worker:
    """A worker, started and told what to do."""

    scratch: Path
    deadline: float  # of time.monotonic()
    process: subprocess.Popen[bytes] = field(init=False)
    started: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        script = Path(__file__).parents[1] / "rehearse.py"
        self._buffer = b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script), "--worker"] if sys.version_info >= (3, 11)
            else [sys.executable, str(script), "--worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.scratch, start_new_session=True,
            env=environment.of_worker(os.environ, self.scratch),
        )  # fmt: skip

    def wait_until_ready(self) -> dict[str, Any]:
        """The worker's first word, after its imports."""
        self.started = json.loads(self._line("import"))
        return self.started

    def attempt(self, order: Mapping[str, Any]) -> Attempt:
        """Have an order carried out.

        Raises:
            TimeIsUp: the deadline has passed.
            WorkerGone: the worker has died.
        """
        assert self.process.stdin is not None
        seconds = max(self.deadline - time.monotonic(), 0.01)
        try:
            self.process.stdin.write(json.dumps({**order, "seconds": seconds}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerGone("it has ended") from error
        made = Attempt()
        while not made.take(self._line(made.stage)):
            continue
        return made

    def _line(self, stage: str) -> bytes:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = self.deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeIsUp(stage)
                chunk = os.read(self.process.stdout.fileno(), 1 << 16)
                if not chunk:
                    code = self.process.wait()
                    raise WorkerGone(f"it ended with {signal_name(-code) if code < 0 else f'exit code {code}'}")
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def end(self) -> None:
        """Kill it, and what it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def signal_name(number: int) -> str:
    """SIGABRT for 6."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
