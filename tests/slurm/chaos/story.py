"""A run's history has no contradictions, and no step was trained twice beyond the last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.slurm import learner
from tests.slurm.chaos.tally import LIE, LOST, WRONG, Finding

Entry = dict[str, Any]


def read_lines(path: Path) -> list[Entry]:
    """The objects of a .jsonl; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def of_history(entries: list[Entry]) -> Iterator[Finding]:
    """What contradicts itself in a run's history.jsonl."""
    checkpoint = -1
    for job in dict.fromkeys(str(entry.get("job_id")) for entry in entries):
        own = [entry for entry in entries if entry.get("job_id") == job]
        yield from _order(job, own)
    for entry in (e for e in entries if e["event"] == "begun"):
        newest = -1 if entry.get("checkpoint") is None else entry["checkpoint"]
        if newest < checkpoint:
            yield Finding(LIE, f"history: {_name(entry)} begins from step {newest}, behind checkpoint {checkpoint}")
        checkpoint = max(newest, checkpoint)


def _order(job: str, entries: list[Entry]) -> Iterator[Finding]:
    """Each attempt begins once, in order, ends, and is followed by another one only where that was said."""
    begun: list[int] = []
    last_end: Entry | None = None
    for entry in entries:
        if entry["event"] == "resumed":
            last_end = None
        elif entry["event"] == "begun":
            if entry["attempt"] != len(begun):
                yield Finding(LIE, f"history: {_name(entry)} begins after {len(begun)} attempts")
            if last_end and last_end.get("goes_on") is False:
                yield Finding(LOST, f"history: {_name(entry)} begins after the end ({last_end.get('why')})")
            begun.append(entry["attempt"])
        elif entry["event"] == "ended":
            last_end = entry
            if entry["attempt"] not in begun:
                yield Finding(LIE, f"history: {_name(entry)} ends and has not begun")
            if (entry.get("to_step") or 0) < (entry.get("from_step") or 0):
                yield Finding(LIE, f"history: {_name(entry)} ran from step {entry['from_step']} to {entry['to_step']}")
    missing = set(begun) - {e["attempt"] for e in entries if e["event"] == "ended"}
    if missing:
        yield Finding(LIE, f"history: attempts {sorted(missing)} of {job} have no end")


def _name(entry: Entry) -> str:
    return f"attempt {entry['attempt']} of {entry.get('job_id')}"


def of_losses(metrics: list[Entry], config: dict[str, Any], ranks: int) -> Iterator[Finding]:
    """Every step's loss is the undisturbed run's, and each new start goes back by one checkpoint at most."""
    done = [(int(entry["step"]), float(entry["loss"])) for entry in metrics if "loss" in entry]
    expected = learner.undisturbed(config, ranks)
    last = dict(done)
    if sorted(last) != list(range(config["steps"])):
        missing = sorted(set(range(config["steps"])) - set(last))
        yield Finding(WRONG, f"steps {missing or sorted(last)} are not in metrics.jsonl, or are too many")
        return
    off = [step for step, loss in done if loss != pytest.approx(expected[step], abs=1e-4)]
    if off:
        yield Finding(WRONG, f"steps {off} have other losses than an undisturbed run")
    for (before, _), (step, _) in pairwise(done):
        again = before + 1 - step
        if again > config["every"]:
            yield Finding(WRONG, f"after step {before} it went on at step {step}: {again} steps again")
        if again < 0:
            yield Finding(WRONG, f"after step {before} it went on at step {step}")
