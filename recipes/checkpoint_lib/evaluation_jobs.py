"""The job that `on_checkpoint` has had submitted for a checkpoint, and what has become of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import contract

REFUSED, WAITING, BEGUN = "NOT SUBMITTED", contract.PENDING, contract.RUNNING


def of(checkpoint: Path) -> dict[str, Any] | None:
    """`state`, `error`, `slurm_id` and `job_dir` of it; None where none was submitted.

    What Slurm knows alone, as of a job that was cancelled before it began, is not asked: that one is PENDING here.
    """
    told = _object(checkpoint.parent / contract.EVALUATIONS / f"{checkpoint.name}{contract.EVALUATION_JOB}")
    if not told:
        return None
    job_dir, slurm_id, refused = (told.get(key) for key in ("job_dir", "slurm_id", "error"))
    found = {"state": REFUSED, "error": None, "slurm_id": slurm_id, "job_dir": job_dir}
    if refused:
        return {**found, "error": str(refused)}
    if not isinstance(job_dir, str) or not slurm_id:
        return {**found, "error": "its submission was cut short"}
    end = _object(Path(job_dir, contract.EXIT))
    if end and not end.get("goes_on"):
        return {**found, "state": str(end.get("state")), "error": end.get("error")}
    return {**found, "state": BEGUN if Path(job_dir, contract.CHAIN).exists() else WAITING}


def _object(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
