"""A script of which nothing is known but that it may print its steps in this plain form, on rank 0:

    step N | loss X | name value | ...        a training step
    [val] step N | loss X | name value | ...  a validation

Whatever stands before it in the line is left aside; N counts from 0, and each name has a number. `epoch E` may stand
among the fields, as any other name. With such lines the script's progress is shown, and a hang is noticed.

The form of its checkpoints is not known, so none is found. Exit code 0 says that it has reached its end, unless
somebody had asked the job to stop; a script that may then end with 0 all the same writes finished.json into
LAUNCH_RUN_DIR, as AutoModel's recipe does.
"""

from __future__ import annotations

from typing import Mapping

import contract

from ..files import Json
from ..patterns import pattern
from . import fields
from .base import Checkpoint, is_recorded

_LINE = pattern(r"\bstep (?P<step>\d+) \| (?P<rest>.*)")


class NoBackend:
    """Backend `none`."""

    name = contract.NO_BACKEND
    takes_steps = False
    tells_saved = False
    markers = (b"step ",)
    # as argparse and Python itself end where a command line is wrong
    final_codes: Mapping[int, str] = {contract.CANNOT_BE_USED: contract.FINAL_CODES[contract.CANNOT_BE_USED]}

    def parse_metrics(self, line: str, now: float) -> Json | None:
        """The plain form, above."""
        match = _LINE.search(line)
        if match is None:
            return None
        result: Json = {}
        fields.add_fields(result, match.group("rest"))
        result.update(time=now, step=int(match.group("step")))  # a field may have one of these names
        if "[val]" in line[: match.start()]:
            result["name"] = "default"
            fields.as_validation(result)
        return result if fields.has_loss(result) else None

    def parse_saving(self, line: str) -> str | None:
        """Not known."""
        return None

    def parse_saved(self, line: str) -> bool:
        """No line tells."""
        return False

    def checkpoints(self, directory: str | None) -> list[Checkpoint]:
        """Not known."""
        return []

    def finished(self, run_dir: str, before: str) -> bool:
        """Where the script records it."""
        return is_recorded(run_dir, before)
