"""What a person asks of a job that runs, by the file JOB_DIR/request: here, the stacks of this node's ranks.

Each request is done once, by every agent, which then says so in JOB_DIR/answers/node-N.json. One that was there before
this attempt began is none of its own. What the training itself is asked for, it looks after (pretrain_lib/requests.py).
"""

from __future__ import annotations

import os
import time
from typing import Callable, Mapping

import contract

from . import stacks
from .files import Json, read_json, write_json
from .journal import Journal
from .spec import Spec
from .training import Training

WHY = "asked for"  # how a dump's head begins that somebody has asked for


class Requests:
    """Contract: one per training; `check` is called while it runs."""

    def __init__(self, spec: Spec, journal: Journal, reap: Callable[[], None]) -> None:
        self._job_dir = spec.job_dir
        self._journal = journal
        self._reap = reap
        self._python = ""
        self._environ: Mapping[bytes, bytes] = {}
        self._done = self._id(self._read())

    def prepare(self, python: str, environ: Mapping[bytes, bytes]) -> None:
        """Where py-spy would be, beside the training's Python."""
        self._python, self._environ = python, environ

    def check(self, training: Training) -> None:
        """Do what was asked since the last call."""
        asked = self._read()
        number = self._id(asked)
        if number is None or number == self._done:
            return
        self._done = number
        if asked is not None and asked.get("what") == contract.REQUEST_STACKS:
            self._journal.log.say("somebody asks for the stacks of the ranks")
            py_spy = stacks.find_py_spy(self._python, self._environ)
            stacks.dump(self._job_dir, training.living(), f"{WHY} ({number})", py_spy, self._reap, wake=False)
            self._answer(number)

    def _answer(self, number: str) -> None:
        path = os.path.join(self._job_dir, contract.ANSWERS, f"node-{self._journal.record.node}.json")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_json(path, {"id": number, "time": time.time(), "what": contract.REQUEST_STACKS, "step": None})
        except OSError as error:
            self._journal.log.say(f"{path}: {error}")

    def _read(self) -> Json | None:
        return read_json(os.path.join(self._job_dir, contract.REQUEST))

    @staticmethod
    def _id(asked: Json | None) -> str | None:
        number = (asked or {}).get("id")
        return number if isinstance(number, str) else None
