"""How the loop ended, and finished.json, by which a run that has reached its end is known."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import contract

from .config import ConfigError
from .output import is_main, say

_FULL = (errno.ENOSPC, errno.EDQUOT)


def report(recipe: Any, first_step: int | None) -> None:
    """Says how the loop ended, and writes finished.json where the run has reached its end.

    AutoModel returns from its loop in the same way in both cases. A run that a signal ended has `sigterm_flag` set and
    steps left to do; one whose last step was reached while the signal came is finished all the same.

    Raises:
        ConfigError: it has taken no step, of which AutoModel says nothing.
    """
    scheduler = getattr(recipe, "step_scheduler", None)
    if scheduler is None:
        say(f"{type(recipe).__name__} has no step_scheduler: it is not known whether the run has reached its end")
        return
    checkpoint = last_checkpoint(recipe)
    if scheduler.sigterm_flag and scheduler.step < scheduler.max_steps:
        say(f"stopped by signal at step {scheduler.step}; {_named(checkpoint)}")
        return
    if scheduler.step == first_step == 0:
        message = (
            "no step was taken: the training data gave no batch. They have fewer samples than there are data-parallel"
        )
        raise ConfigError(f"{message} ranks, or less than a batch with drop_last")
    if scheduler.step == first_step:
        say("nothing left to do: this run has reached its end before")
    write_finished(scheduler.step, scheduler.max_steps, checkpoint)


def last_checkpoint(recipe: Any) -> str | None:
    """Returns the absolute path of the newest complete checkpoint, or None.

    That is CHECKPOINT_DIR/epoch_E_step_S, where S counts from 0: a run of 150 steps ends with step_149.
    """
    from nemo_automodel.components.checkpoint.utils import find_latest_checkpoint

    checkpointer = getattr(recipe, "checkpointer", None)
    if checkpointer is None or not checkpointer.config.enabled:
        return None
    found = find_latest_checkpoint(checkpointer.config.checkpoint_dir)
    return None if found is None else str(Path(found).resolve())


def _named(checkpoint: str | None) -> str:
    return f"checkpoint {checkpoint}" if checkpoint else "no checkpoint"


def hf_directory(checkpoint: str | None) -> str | None:
    """Returns the directory inside `checkpoint` that transformers loads, or None where it was not exported."""
    if checkpoint is None:
        return None
    directory = Path(checkpoint, "model", "consolidated")
    exported = (directory / "config.json").is_file() and any(directory.glob("*.safetensors"))
    return str(directory) if exported else None


def finished_file() -> Path | None:
    """Returns where finished.json of this run is, or None where the launcher has named no run directory."""
    run_dir = os.environ.get(contract.RUN_DIR_VAR)
    return Path(run_dir, contract.FINISHED) if run_dir else None


def write_finished(step: int, max_steps: int, checkpoint: str | None) -> None:
    """Says that the run has reached its end and, on rank 0, records it."""
    path = finished_file()
    if path is not None and is_main():
        record: dict[str, Any] = {
            "step": step,
            "max_steps": max_steps,
            "checkpoint": checkpoint,
            "hf": hf_directory(checkpoint),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        _record(path, record)
    say(f"finished: step {step} of {max_steps}; {_named(checkpoint)}")


def _record(path: Path, record: Mapping[str, Any]) -> None:
    """On a full disk with the room that the job has kept for its records. The end is one without this file, too: all
    steps are done and saved, so the exit code is 0."""
    try:
        link_export(path.with_name(contract.HF), record["hf"])
        write_atomically(path, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        if error.errno in _FULL and _gives_room():
            _record(path, record)
        else:
            say(f"{path} cannot be written ({error.strerror}): only this log tells that the run is finished")


def _gives_room() -> bool:
    job_dir = os.environ.get(contract.JOB_DIR_VAR)
    if job_dir:
        with contextlib.suppress(OSError):
            Path(job_dir, contract.RESERVE).unlink()
            return True
    return False


def link_export(link: Path, target: str | None) -> None:
    """Gives the export a name that is known before the run: the checkpoint's own has the epoch, which is not.

    Relative where it lies beside, so that it holds in a container and after a move. One of a shorter run is replaced.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    if target is None:
        if link.is_symlink():
            link.unlink()
        return
    base = link.parent.resolve()
    temporary.symlink_to(Path(target).relative_to(base) if Path(target).is_relative_to(base) else target)
    temporary.replace(link)


def write_atomically(path: Path, text: str) -> None:
    """Writes the file so that a reader sees the old content or the new, and never a part of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")  # two nodes may have the same pid
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def already_finished(raw: Mapping[str, Any]) -> bool:
    """As finished_already, for a configuration of AutoModel.

    Only a run whose length is `step_scheduler.max_steps` is recognised here. One that is counted in epochs, or has been
    made longer, goes the long way: it is set up, resumes from its last checkpoint, and does what is left.
    """
    scheduler = raw.get("step_scheduler")
    return finished_already(scheduler.get("max_steps") if isinstance(scheduler, Mapping) else None)


def finished_already(wanted: Any) -> bool:
    """Tells whether finished.json says that a run of `wanted` steps has reached its end; if so, says it again.

    A damaged one says nothing: the run resumes, finds that nothing is left to do, and writes it anew.
    """
    path = finished_file()
    if path is None or not isinstance(wanted, int) or not path.is_file():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        step, max_steps, checkpoint = (record[key] for key in ("step", "max_steps", "checkpoint"))
        if step < wanted or (checkpoint is not None and not Path(checkpoint).is_dir()):
            return False
    except (ValueError, TypeError, KeyError, RecursionError):
        say(f"{path} is damaged: what is left of the run is told by its checkpoints")
        return False
    say("nothing left to do: this run has reached its end before")
    say(f"finished: step {step} of {max_steps}; {_named(checkpoint)}")
    return True
