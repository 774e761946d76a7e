"""What lies in `evaluations/` beside the checkpoints: results, and the jobs that `on_checkpoint` has had submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import contract

from . import regular

REFUSED, WAITING, BEGUN = "NOT SUBMITTED", contract.PENDING, contract.RUNNING


def file(checkpoint: Path) -> Path:
    """Where the results of a checkpoint are: {"checkpoint", "step", "time", "results"}."""
    return checkpoint.parent / contract.EVALUATIONS / f"{checkpoint.name}.json"


def results(checkpoint: Path) -> list[dict[str, Any]]:
    """Name, data, loss (null where it was no finite number), perplexity and tokens of each that recipes/evaluate.py has
    left; none where they cannot be read."""
    try:
        return read(file(checkpoint))
    except OSError:
        return []


def read(path: Path) -> list[dict[str, Any]]:
    """The same of a file; none where there is none, or none that is whole.

    Raises:
        OSError: The file system would not say.
    """
    try:
        told = json.loads(regular.text(path))
    except (FileNotFoundError, ValueError, RecursionError):
        return []
    told = told.get("results") if isinstance(told, dict) else None
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def job(checkpoint: Path) -> dict[str, Any] | None:
    """`state`, `error`, `slurm_id` and `job_dir` of it; None where none was submitted.

    What Slurm knows alone, as of a job that was cancelled before it began, is not asked: that one is PENDING here.
    """
    told = _object(checkpoint.parent / contract.EVALUATIONS / f"{checkpoint.name}{contract.EVALUATION_JOB}")
    if not told:
        return None
    job_dir, slurm_id = told.get("job_dir"), told.get("slurm_id")
    error = str(told.get("error") or "its submission was cut short")
    found = {"state": WAITING, "error": None, "slurm_id": slurm_id, "job_dir": job_dir}
    if not isinstance(job_dir, str):
        return {**found, "state": REFUSED, "error": error}
    folder = Path(job_dir)
    end = _object(folder / contract.EXIT)
    if end and not end.get("goes_on"):
        return {**found, "state": str(end.get("state")), "error": end.get("error")}
    if (folder / contract.CHAIN).exists():
        return {**found, "state": BEGUN}
    if slurm_id:
        return found
    # its directory is removed where Slurm has refused it
    state = contract.UNKNOWN if folder.is_dir() else REFUSED
    return {**found, "state": state, "error": error}


def _object(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(regular.text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
