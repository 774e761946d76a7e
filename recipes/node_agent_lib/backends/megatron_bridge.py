"""Megatron-Bridge 0.3.1: the lines of its log, its checkpoints, and the record that recipes/pretrain_bridge.py leaves.

The lines are those of training_log, evaluate_and_print_results and save_checkpoint; recipes/bridge_lib/relay.py brings
those of the last rank into rank 0's log. Iterations count from 1, steps from 0: iteration 10 is step 9, and
iter_0000010 holds it. A loss that is not a number is left out of the line and counted in it.
"""

from __future__ import annotations

import os
import re
from typing import Mapping

import contract

from ..files import Json
from ..patterns import pattern
from . import fields, megatron_lines
from .base import Checkpoint, checkpoints_of, is_recorded

_SAVING = pattern(r"saving checkpoint at iteration +(?P<iteration>\d+) to (?P<directory>.+) in \S+ format\s*$")
_SAVED = pattern(r"successfully saved (?:local )?checkpoint from iteration ")
_NAMES = {
    "lm loss": "loss",
    "lm loss value": "loss",
    "lm loss PPL": "ppl",
    "learning rate": "lr",
    "throughput per GPU (TFLOP/s/GPU)": "tflops_per_gpu",
    "tokens per second": "tps",
    "number of skipped iterations": "skipped_iterations",
    "number of nan iterations": "nan_iterations",
}
_ELAPSED = "elapsed time per iteration (ms)"


class MegatronBridge:
    """Backend `megatron-bridge`."""

    name = contract.MEGATRON_BRIDGE
    takes_steps = True
    tells_saved = True
    markers = (b"iteration ",)
    final_codes: Mapping[int, str] = contract.FINAL_CODES

    def parse_metrics(self, line: str, now: float) -> Json | None:
        """` [TIME] iteration 10/ 60 | ... | lm loss: 7.8E+00 | ...`, ` validation loss at iteration 10 | ...`."""
        match = megatron_lines.ITERATION.search(line)
        validation = None if match else megatron_lines.VALIDATION.search(line)
        found = match or validation
        if found is None:
            return None
        result: Json = {"time": now, "step": int(found.group("iteration")) - 1}
        if validation:
            kind = validation.group("set")
            result["name"] = "default" if kind in (None, "validation") else kind
        for part in found.group("rest").split("|"):
            _add_field(result, part)
        if validation:
            fields.as_validation(result)
            return result if fields.has_loss(result) else None
        if "loss" not in result and result.get("nan_iterations"):
            result["loss"], result["nonfinite"] = None, True
        return result

    def parse_saving(self, line: str) -> str | None:
        """The directory in the line that comes before a save."""
        found = _SAVING.search(line)
        if found is None:
            return None
        return os.path.join(found.group("directory"), f"iter_{int(found.group('iteration')):07d}")

    def parse_saved(self, line: str) -> bool:
        """The line that comes after it, in the background or not."""
        return _SAVED.search(line) is not None

    def checkpoints(self, directory: str | None) -> list[Checkpoint]:
        """By their names; complete once what is written last is there."""
        return checkpoints_of(directory)

    def finished(self, run_dir: str, before: str) -> bool:
        """recipes/pretrain_bridge.py records it."""
        return is_recorded(run_dir, before)


def _add_field(result: Json, part: str) -> None:
    """`lm loss: 7.8E+00`; a name that is not known stands for itself, with `_` for what is no letter."""
    found = megatron_lines.FIELD.match(part)
    if found is None:
        return
    name, value = found.group("name"), found.group("value")
    if name == _ELAPSED:
        fields.put(result, "step_s", value)
        if isinstance(result.get("step_s"), (int, float)):
            result["step_s"] = result["step_s"] / 1000.0
        return
    key = _NAMES.get(name) or re.sub(r"\W+", "_", name).strip("_").lower()
    if key not in ("time", "step"):
        fields.put(result, key, value)
