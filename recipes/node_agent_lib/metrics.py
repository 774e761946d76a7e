"""Rank 0's log, read as it grows: AutoModel's step and validation lines become objects for metrics.jsonl.

The forms are those of log_train_metrics and log_val_metrics of AutoModel's recipes: ` | ` between fields, a name and a
number in each; what a recipe adds (kd_loss, accuracy, ...) comes along under its own name.
"""

from __future__ import annotations

import math
import os
import re
import time

from .files import Json, append_json, last_lines, read_lines
from .stall import Progress

_LINE = re.compile(r"\bstep (?P<step>\d+) \| epoch (?P<epoch>\d+) \| (?P<rest>.*)")
_VAL_NAME = re.compile(r'\[val\] (?!step \d)(?:name )?"?([^"|]*?)"? \|')
_TPS = re.compile(r"^tps (\S+?)\((\S+?)/gpu\)")
_FIELD = re.compile(r"^([A-Za-z_][\w/]*) (\S+)")
_SAVING = re.compile(r"Saving checkpoint to (\S.*?)\s*$")  # BaseRecipe.save_checkpoint, before it writes anything
_BREAK = re.compile(rb"[\r\n]")
_CHUNK = 1 << 20
_MOST_PER_POLL = 16
_MOST_PENDING = 10000


def parse(line: str, now: float) -> Json | None:
    """The metrics in one line of the log, or None. A value that is not finite is null and marked by `nonfinite`."""
    match = _LINE.search(line)
    if match is None:
        return None
    validation = "[val]" in line[: match.start()]
    result: Json = {"time": now, "step": int(match.group("step")), "epoch": int(match.group("epoch"))}
    if validation:
        name = _VAL_NAME.search(line)
        result["name"] = name.group(1) if name else "default"
    for part in match.group("rest").split(" | "):
        _add_field(result, part.strip())
    if validation and "loss" in result:
        result["val_loss"] = result.pop("loss")
    return result if "loss" in result or "val_loss" in result else None


def _add_field(result: Json, part: str) -> None:
    tps = _TPS.match(part)
    if tps:
        _put(result, "tps", tps.group(1))
        _put(result, "tps_per_gpu", tps.group(2))
        return
    found = _FIELD.match(part)
    if found:
        name = "mem_gib" if found.group(1) == "mem" else found.group(1)
        _put(result, name, found.group(2))


def _put(result: Json, name: str, text: str) -> None:
    try:
        value = float(text)
    except ValueError:
        return
    if not math.isfinite(value):
        result[name] = None
        result["nonfinite"] = True
    else:
        result[name] = int(text) if re.match(r"^-?\d+$", text) else value


def missed(log: str, target: str) -> list[Json]:
    """The metrics of an earlier attempt that stand in the log only: its agent was killed before it had read them."""
    told = read_lines(target)
    if not told:
        return []
    now = time.time()
    logged = [found for found in (parse(line, now) for line in last_lines(log)) if found]
    known = [i for i, found in enumerate(logged) if {**found, "time": 0} == {**told[-1], "time": 0}]
    return logged[known[-1] + 1 :] if known else []


class Follower:
    """Copies the metrics of a growing log to metrics.jsonl, each line once."""

    def __init__(self, log: str, target: str) -> None:
        self._log = log
        self._target = target
        self._offset = os.path.getsize(log) if os.path.exists(log) else 0  # an earlier attempt's lines are not ours
        self._rest = b""
        self._pending: list[Json] = missed(log, target)
        self.step: int | None = None
        self.first_step: int | None = None
        self._saving_since: float | None = None
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
                file.seek(self._offset)
                data = file.read(_CHUNK)
        except OSError:
            return False
        self._offset += len(data)
        self.progress.log_bytes += len(data)
        lines = _BREAK.split(self._rest + data)
        self._rest = lines.pop()[-_CHUNK:]
        for line in lines:
            self._line(line)
        return bool(data)

    def _line(self, line: bytes) -> None:
        if b"Saving checkpoint to " in line:
            self._note_save(line.decode("utf-8", "replace"))
        if b"step " not in line:
            return
        found = parse(line.decode("utf-8", "replace"), time.time())
        if found is None:
            return
        if "loss" in found:
            self.step = found["step"]
            self.first_step = self.step if self.first_step is None else self.first_step
            self.progress.steps += 1
            self.progress.nan_steps = self.progress.nan_steps + 1 if found["loss"] is None else 0
        else:
            self.progress.others += 1
        self._note_saved()
        self._pending = [*self._pending[-_MOST_PENDING:], found]

    def _note_save(self, line: str) -> None:
        found = _SAVING.search(line)
        if found:
            self.progress.saving = found.group(1)
            self.progress.others += 1
            self._saving_since = time.monotonic()

    def _note_saved(self) -> None:
        """The next line of the training, or its end, comes after a save: no line tells of the save's own end."""
        if self._saving_since is not None:
            took = time.monotonic() - self._saving_since
            self._saving_since = None
            self.progress.save_s = max(self.progress.save_s or 0.0, took)

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            append_json(self._target, self._pending)
        except OSError:  # a full disk: kept for the next poll
            return
        self._pending = []
