"""The run's directory: what outlives one job."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from automodel_launch.configs import flatten

# nemo_automodel 0.7.0, components/checkpoint: epoch_E_step_S, with `.incomplete` inside while it is being saved.
_CHECKPOINT = re.compile(r"epoch_\d+_step_(\d+)")


def begin(run_dir: Path, trained: dict[str, Any]) -> None:
    """Record what the run trains, when its first job is submitted."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), (run_dir / "run.json").open("x", encoding="utf-8") as file:
        json.dump({"trained": trained}, file, indent=1)


def differences(run_dir: Path, trained: dict[str, Any]) -> list[str]:
    """Keys in which `trained` differs from what the run was begun with; none for a run that is not there yet."""
    begun = (_read(run_dir / "run.json") or {}).get("trained")
    if not isinstance(begun, dict):
        return []
    old, new = dict(flatten(begun)), dict(flatten(json.loads(json.dumps(trained))))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def finished(run_dir: Path) -> dict[str, Any] | None:
    """finished.json, which the recipe writes when the run has reached its end: step, checkpoint, hf."""
    return _read(run_dir / "finished.json")


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


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
