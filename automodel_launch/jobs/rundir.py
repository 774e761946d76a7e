"""The run's directory: what outlives one job."""

from __future__ import annotations

import json
import time
from typing import Any

from automodel_launch import contract
from automodel_launch.config.dotted import flatten
from automodel_launch.jobs.jobdir import parse
from automodel_launch.remote import filesystem
from automodel_launch.remote.filesystem import LOCAL, FileSystem


def begin(
    run_dir: str,
    trained: dict[str, Any],
    place: FileSystem = LOCAL,
    world_size: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Record what the run trains, and with how many processes, when its first job is submitted; `data`: what is known
    of its data, with their `job_id`.

    Again where no job of it has ever begun: those that were refused or cancelled have trained nothing. Called under
    the run's claim: no other job of it is in the queue.
    """
    place.make(run_dir)
    texts = {contract.RUN: json.dumps({"trained": trained, "world_size": world_size}, indent=1)}
    if data and data.get("digest"):
        texts[contract.DATA] = json.dumps({**data, "time": time.time(), "before": []}) + "\n"
    begun = has_begun(run_dir, place)
    wanted = {name: text for name, text in texts.items() if not begun or place.read(f"{run_dir}/{name}") is None}
    if wanted:
        place.put(run_dir, {}, wanted)


def data(run_dir: str, place: FileSystem = LOCAL) -> dict[str, Any]:
    """The record of the data that the run trains on; empty where there is none."""
    return parse(filesystem.whole(place, f"{run_dir}/{contract.DATA}") or b"") or {}


def has_begun(run_dir: str, place: FileSystem = LOCAL) -> bool:
    """Whether any job of the run has ever begun; each writes that down before it does anything else."""
    names = place.names(run_dir)
    return contract.HISTORY in names or contract.FINISHED in names


def world_size(run_dir: str, place: FileSystem = LOCAL) -> int | None:
    """The number of processes that the run was begun with."""
    begun = (_read(f"{run_dir}/{contract.RUN}", place) or {}).get("world_size")
    return begun if isinstance(begun, int) else None


def begun_with(run_dir: str, place: FileSystem = LOCAL) -> dict[str, Any] | None:
    """What the run trained when it began; None for one of which no job has begun."""
    if not has_begun(run_dir, place):
        return None
    return trained(run_dir, place)


def trained(run_dir: str, place: FileSystem = LOCAL) -> dict[str, Any] | None:
    """What its first job was submitted to train, whether or not it has begun."""
    told = (_read(f"{run_dir}/{contract.RUN}", place) or {}).get("trained")
    return told if isinstance(told, dict) else None


def differences(run_dir: str, trained: dict[str, Any], place: FileSystem = LOCAL) -> list[str]:
    """Keys in which `trained` differs from what the run was begun with; none for a run of which no job has begun."""
    begun = begun_with(run_dir, place)
    return [] if begun is None else differing(begun, trained)


def differing(begun: dict[str, Any], trained: dict[str, Any]) -> list[str]:
    """Keys in which `trained` differs from what `begun_with` has found of a run."""
    old, new = dict(flatten(begun)), dict(flatten(json.loads(json.dumps(trained))))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def finished(run_dir: str, place: FileSystem = LOCAL) -> dict[str, Any] | None:
    """finished.json, which the recipe writes when the run has reached its end: step, checkpoint, hf."""
    return _read(f"{run_dir}/{contract.FINISHED}", place)


def last_step(checkpoints: str, place: FileSystem = LOCAL) -> int | None:
    """Step of the last checkpoint that is not in the middle of being saved."""
    steps = {name: contract.checkpoint_step(name) for name in place.names(checkpoints)}
    found = {step: name for name, step in steps.items() if step is not None}
    newest = sorted(found, reverse=True)
    saved = (s for s in newest if contract.is_saved(found[s], place.names(f"{checkpoints}/{found[s]}")))
    return next(saved, None)


def steps_kept(checkpoints: str | None, place: FileSystem = LOCAL) -> int:
    """Steps that a run's last checkpoint holds, with which it goes on; 0 without one."""
    step = last_step(checkpoints, place) if checkpoints else None
    return 0 if step is None else step + 1


def _read(path: str, place: FileSystem) -> dict[str, Any] | None:
    found = place.read(path)
    return None if found is None else parse(found[0])
