"""NeMo AutoModel 0.7.0: the lines of its log, its checkpoints, and the record that recipes/pretrain.py leaves.

The lines are those of log_train_metrics and log_val_metrics of AutoModel's recipes; what a recipe adds (kd_loss,
accuracy, ...) comes along under its own name. Steps count from 0. A checkpoint is epoch_E_step_S, with `.incomplete`
inside while it is being saved.
"""

from __future__ import annotations

from typing import Mapping

import contract

from ..files import Json
from ..patterns import pattern
from . import fields
from .base import Checkpoint, checkpoints_of, is_recorded

_LINE = pattern(r"\bstep (?P<step>\d+) \| epoch (?P<epoch>\d+) \| (?P<rest>.*)")
_VAL_NAME = pattern(r'\[val\] (?!step \d)(?:name )?"?([^"|]*?)"? \|')
_TPS = pattern(r"^tps (\S+?)\((\S+?)/gpu\)")
_MEMORY = pattern(r"^mem (\S+)")
_SAVING = pattern(r"Saving checkpoint to (\S.*?)\s*$")  # BaseRecipe.save_checkpoint, before it writes anything


class AutoModel:
    """Backend `automodel`."""

    name = contract.AUTOMODEL
    takes_steps = True
    tells_saved = False
    markers = (b"step ", b"Saving checkpoint to ")
    final_codes: Mapping[int, str] = contract.FINAL_CODES

    def parse_metrics(self, line: str, now: float) -> Json | None:
        """`step 3 | epoch 0 | loss 2.31 | ...`, behind `[val]` and the validation's name where it is one."""
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
        if validation:
            fields.as_validation(result)
            if contract.has_no_token(result):
                result["val_loss"] = None
        return result if fields.has_loss(result) else None

    def parse_saving(self, line: str) -> str | None:
        """The directory in the line that comes before a save."""
        found = _SAVING.search(line)
        return found.group(1) if found else None

    def parse_saved(self, line: str) -> bool:
        """No line tells."""
        return False

    def checkpoints(self, directory: str | None) -> list[Checkpoint]:
        """By their names, and the marker that AutoModel leaves in one until it is saved."""
        return checkpoints_of(directory)

    def finished(self, run_dir: str, before: str) -> bool:
        """recipes/pretrain.py records it."""
        return is_recorded(run_dir, before)


def _add_field(result: Json, part: str) -> None:
    tps, memory = _TPS.match(part), _MEMORY.match(part)
    if tps:
        fields.put(result, "tps", tps.group(1))
        fields.put(result, "tps_per_gpu", tps.group(2))
    elif memory:
        fields.put(result, "mem_gib", memory.group(1))
    else:
        fields.add_field(result, part)
