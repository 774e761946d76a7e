"""Rank 0's log, read as it grows: the lines that the backend takes for steps and validations go to metrics.jsonl."""

from __future__ import annotations

import os
import time

import contract

from .backends import Backend
from .files import Json, append_json, last_lines, read_lines
from .stall import Progress

_CHUNK = 1 << 20
_MOST_PER_POLL = 16
_MOST_PENDING = 10000


def missed(backend: Backend, log: str, target: str) -> list[Json]:
    """The metrics of an earlier attempt that stand in the log only: its agent was killed before it had read them."""
    written = read_lines(target)
    if not written:
        return []
    now = time.time()
    logged = [found for found in (backend.parse_metrics(line, now) for line in last_lines(log)) if found]
    known = [i for i, found in enumerate(logged) if {**found, "time": 0} == {**written[-1], "time": 0}]
    return logged[known[-1] + 1 :] if known else []


class Follower:
    """Copies the metrics of a growing log to metrics.jsonl, each line once."""

    def __init__(self, backend: Backend, log: str, target: str) -> None:
        self._backend = backend
        self._log = log
        self._target = target
        self._offset = os.path.getsize(log) if os.path.exists(log) else 0  # an earlier attempt's lines are not ours
        self._rest = b""
        self._pending: list[Json] = missed(backend, log, target)
        self.step: int | None = None
        self.first_step: int | None = None
        self._saving_since: float | None = None
        self._saves: list[Json] = []
        self.progress = Progress()

    def poll(self) -> None:
        """Take what is new, a bounded amount at a time so that a flooded log cannot hold up the agent."""
        for _ in range(_MOST_PER_POLL):
            if not self._take():
                break
        self._flush()

    def drain(self) -> None:
        """Take everything up to the end, a last line without its newline included."""
        while self._take():
            pass
        self._line(self._rest)
        self._rest = b""
        self._note_saved()
        self._flush()

    def _take(self) -> bool:
        try:
            with open(self._log, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:  # emptied by hand, for room on a disk
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                data = file.read(_CHUNK)
        except OSError:
            return False
        self._offset += len(data)
        self.progress.log_bytes += len(data)
        lines = data.replace(b"\r", b"\n").split(b"\n")  # a tenth of what an expression takes, of a long line
        lines[0] = self._rest + lines[0]
        self._rest = lines.pop()[-_CHUNK:]
        for line in lines:
            self._line(line)
        return bool(data)

    def _line(self, line: bytes) -> None:
        if not any(marker in line for marker in self._backend.markers):
            return
        text = line.decode("utf-8", "replace")
        saving = self._backend.parse_saving(text)
        if saving is not None:
            self._note_save(saving)
        elif self._backend.parse_saved(text):
            self._note_saved()
        found = self._backend.parse_metrics(text, time.time())
        if found is not None:
            self._note_metrics(found)

    def _note_metrics(self, found: Json) -> None:
        if "loss" in found:
            self.step = found["step"]
            self.first_step = self.step if self.first_step is None else self.first_step
            self.progress.steps += 1
            self.progress.nan_steps = self.progress.nan_steps + 1 if found["loss"] is None else 0
        else:
            self.progress.others += 1
        if not self._backend.tells_saved:
            self._note_saved()
        self._pending = [*self._pending[-_MOST_PENDING:], found]

    def _note_save(self, directory: str) -> None:
        self.progress.saving = directory
        self.progress.others += 1
        self._saving_since = time.monotonic()

    def _note_saved(self) -> None:
        """A save's own end, or what is known to come after it: the next line of the training, or its end."""
        if self._saving_since is not None:
            took = time.monotonic() - self._saving_since
            self._saving_since = None
            self.progress.save_s = max(self.progress.save_s or 0.0, took)
            now = time.time()
            self._saves.append({"phase": contract.PHASE_SAVING, "since": now - took, "until": now})

    def take_saves(self) -> list[Json]:
        """The saves that are over since the last call, with the line that came after each for their ends."""
        found, self._saves = self._saves, []
        return found

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            append_json(self._target, self._pending)
        except OSError:  # a full disk: kept for the next poll
            return
        self._pending = []
