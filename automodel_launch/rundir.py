"""The run's directory: what outlives one job."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# nemo_automodel 0.7.0, components/checkpoint: epoch_E_step_S, with `.incomplete` inside while it is being saved.
_CHECKPOINT = re.compile(r"epoch_\d+_step_(\d+)")


def finished(run_dir: Path) -> dict[str, Any] | None:
    """finished.json, which the recipe writes when the run has reached its end: step, checkpoint, hf."""
    try:
        value = json.loads((run_dir / "finished.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def last_step(checkpoints: Path) -> int | None:
    """Step of the last checkpoint that is not in the middle of being saved."""
    if not checkpoints.is_dir():
        return None
    steps = [
        int(match.group(1))
        for entry in checkpoints.iterdir()
        if (match := _CHECKPOINT.fullmatch(entry.name)) and not (entry / ".incomplete").exists()
    ]
    return max(steps, default=None)
