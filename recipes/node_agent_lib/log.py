"""The agent's own log: logs/agent-<node>.log, where the startup commands and torchrun write too."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time

_PREFIX = "[node agent "
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL_BYTES = 65536


class AgentLog:
    """Lines with the node's rank and the time. Writing never raises: a full disk must not end a training."""

    def __init__(self, path: str, node: int, echo: bool) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._node = node
        self._echo = echo

    def say(self, text: str) -> None:
        """One line into the log, and to standard error unless that is the log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        line = f"{_PREFIX}{self._node} {stamp}] {text}\n"
        data = line.encode("utf-8", "replace")
        for fd in [self.fd, 2] if self._echo else [self.fd]:
            with contextlib.suppress(OSError):
                os.write(fd, data)

    def size(self) -> int:
        """Where the next byte goes: the start of what is written from now on."""
        return os.fstat(self.fd).st_size


def tail(path: str, offset: int = 0) -> list[str]:
    """The last non-empty lines of what was written to `path` after `offset`, the agent's own lines left out."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = (_ANSI.sub("", line).strip() for line in re.split(r"[\r\n]+", text))
    return [line for line in lines if line and not line.startswith(_PREFIX)]


def complain(text: str) -> None:
    """A line to the person or script that started this program."""
    print("node_agent: " + text, file=sys.stderr)
