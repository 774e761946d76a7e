"""The agent's own log: logs/agent-<node>.log, where the startup commands and torchrun write too, through the agent.

What they write comes through a pipe, so that no value of a secret (redaction.py) gets into the file. The agent's loop
reads it all the time; where the agent dies, they die with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time

from . import redaction
from .patterns import pattern

_PREFIX = "[node agent "
_ANSI = pattern(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL_BYTES = 65536
_F_SETPIPE_SZ = 1031  # of Linux; the module fcntl has it from Python 3.10 on
_PIPE_BYTES = 1 << 20  # what may be written while the agent is at something else
_MOST_READS = 64  # a flood cannot hold up the agent


class AgentLog:
    """Lines with the node's rank and the time. Writing never raises: a full disk must not end a training.

    `fd` is the file, `output` where other programs write to it, and `arriving` the pipe's end that is read here.
    """

    def __init__(self, path: str, node: int, echo: bool) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.arriving, self.output = os.pipe()
        os.set_blocking(self.arriving, False)
        with contextlib.suppress(OSError):  # the user's pipes may be used up, and not every system knows it
            fcntl.fcntl(self.output, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._stream = redaction.Stream()
        self._node = node
        self._echo = echo

    def say(self, text: str) -> None:
        """One line into the log, and to standard error unless that is the log."""
        self.take()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        line = redaction.text(f"{_PREFIX}{self._node} {stamp}] {text}\n")
        data = line.encode("utf-8", "replace")
        for fd in [self.fd, 2] if self._echo else [self.fd]:
            with contextlib.suppress(OSError):
                os.write(fd, data)

    def take(self, to_end: bool = False) -> None:
        """Write what other programs have written since; `to_end` also what may be the first half of a secret."""
        for _ in range(_MOST_READS if not to_end else _MOST_READS * 64):
            try:
                data = os.read(self.arriving, 1 << 16)
            except OSError:  # nothing more for now
                break
            self._write(self._stream.feed(data))
        if to_end:
            self._write(self._stream.end())

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self.fd, data) :]

    def size(self) -> int:
        """Where the next byte goes: the start of what is written from now on."""
        self.take(to_end=True)
        return os.fstat(self.fd).st_size

    def since(self, offset: int) -> list[str]:
        """The last lines of what other programs have written after `offset`."""
        self.take(to_end=True)
        return tail(self.path, offset)


def tail(path: str, offset: int = 0) -> list[str]:
    """The last non-empty lines of what was written to `path` after `offset`, the agent's own lines left out."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    text = _ANSI.sub("", text) if "\x1b" in text else text
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith(_PREFIX)]


def complain(text: str) -> None:
    """A line to the person or script that started this program."""
    print("node_agent: " + text, file=sys.stderr)
