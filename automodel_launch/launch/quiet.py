"""What an attached run shows of a rank's log: all but what its backend lists as noise, and steps as short lines.

Nothing that may be an error, a traceback or a warning of the user's own code is left out: what looks like one is shown
whatever the list says, and ends the block that it stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.backends import noise
from automodel_launch.backends.noise import Block, Noise, Step
from automodel_launch.jobs.jobdir import JobDir

COLUMNS = 80
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^Fatal Python error|^\s*Exception Group Traceback")
# Python's exceptions, whatever stands before them, and the words with which programs call what went wrong.
_ALARM = re.compile(
    r"(\[?rank ?\d+\]?:? )?([\w.]*\.)?\w*(Error|Exception|Interrupt|SystemExit)\b|"
    r"\W*(error|fatal|warning|panic|failed|aborted|killed|segmentation fault)\b(?! to load)",
    re.I,
)
_LOUD = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")  # of loggers, wherever it stands
# One of them is in every line that the three above find: to look for these first is ten times as quick.
_WORDS = (
    *("error", "exception", "traceback", "critical", "fatal", "warning", "panic", "failed", "aborted", "killed"),
    *("segmentation fault", "interrupt", "systemexit"),
)
_LAST_OF_TRACEBACK = re.compile(r"^(\[?rank ?\d+\]?:? )?[^\s|+].*", re.I)
_BETWEEN = ("During handling of", "The above exception", "Traceback (most")


@dataclass
class Trouble:
    """Sees lines that may be errors, warnings or part of a traceback; lines of one rank, one after the other."""

    in_traceback: bool = False

    def sees(self, line: str) -> bool:
        """Whether this one may be, without its colours."""
        if not self.in_traceback:
            low = line.lower()
            if not any(word in low for word in _WORDS):
                return False
        if _TRACEBACK.search(line):
            self.in_traceback = True
            return True
        if self.in_traceback:
            ends = _LAST_OF_TRACEBACK.match(line) and not line.startswith(_BETWEEN)
            self.in_traceback = not ends
            return True
        return bool(_LOUD.search(line) or _ALARM.match(line))


def bare(line: str) -> str:
    """The line without colours."""
    return _COLOUR.sub("", line) if "\x1b" in line else line


@dataclass
class Quiet:
    """Lines of one rank, one after the other. `hidden` counts those that were left to the log."""

    noise: Noise
    hidden: int = 0
    _block: Block | None = None
    _after_warning: bool = False
    _trouble: Trouble = field(default_factory=Trouble)
    _told: dict[str, str] = field(default_factory=dict)

    def line(self, line: str) -> str | None:
        """The line as it is shown; None where it is left to the log."""
        if self.noise is noise.NONE:
            return line
        text = bare(line)
        if self._trouble.sees(text):
            self._block, self._after_warning = None, False
            return line
        step = self.noise.step(text)
        if step is not None:
            return self._short(step)
        if self._is_noise(text):
            self.hidden += 1
            return None
        return line

    def _is_noise(self, line: str) -> bool:
        source, self._after_warning = self._after_warning, False
        if source and re.match(r"  \S", line):  # Python prints the line of source below its warning
            return True
        block, self._block = self._block, None
        if block is not None and block.last is not None and block.last.fullmatch(line):
            return True
        if block is not None and block.goes_on.fullmatch(line):
            self._block = block
            return True
        self._block = next((block for block in self.noise.blocks if block.start.search(line)), None)
        if self._block is not None:
            return True
        self._after_warning = any(pattern.search(line) for pattern in self.noise.warnings)
        return self._after_warning or any(pattern.search(line) for pattern in self.noise.lines)

    def _short(self, step: Step) -> str:
        """The step in at most COLUMNS; what has no room is in the log."""
        self._block, text = None, step.head
        for name, said in step.fields:
            if name in step.constant:
                key = f"{step.head.split()[0]} {name}"
                before, self._told[key] = self._told.get(key, said), said
                if before == said:
                    continue
            if name in step.zero and not re.search("[1-9]", said):
                continue
            if name == noise.WHERE:
                said = _end_of(said, COLUMNS - len(text) - 2)
            if len(text) + 2 + len(said) <= COLUMNS:
                text += f"  {said}"
        return text


def _end_of(path: str, room: int) -> str:
    """The path, or as many of its last parts as there is room for, the last one at least."""
    parts, shown = path.split("/"), path
    while len(shown) > room and len(parts) > 1:
        parts = parts[1:]
        shown = "/".join(["...", *parts])
    return shown


def noise_of(job: JobDir) -> Noise | None:
    """What the backend of a job lists, by its agent.json; None where that is not there now.

    Raises:
        ClusterError: its place cannot be reached.
    """
    order = job.agent_order()
    return None if order is None else noise_named(order)


def noise_named(order: dict[str, Any]) -> Noise:
    """What the backend that an agent.json names lists."""
    backend = backends.known(order.get("backend", contract.AUTOMODEL))  # launchers before that key knew AutoModel alone
    return backend.noise() if backend else noise.NONE
