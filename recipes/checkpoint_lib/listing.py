"""What a run's checkpoints are: sizes, whether they are complete, and what is wrong with them. Nothing is changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract

from . import evaluations, faults, regular, weights
from .megatron import choice as megatron_choice
from .megatron import faults as megatron_faults
from .stopped import Stopped

COMPLETE, INCOMPLETE, ASIDE, REMOVED = "complete", "incomplete", "damaged", "being removed"
_ASIDE = re.compile(r"(epoch_\d+_step_\d+)\.damaged(-\d+)?|damaged-(iter_\d+)(-\d+)?")  # as choice.py renames them
_REMOVED = re.compile(r"\.removed-(.+)")  # as removal.py does
_POINTERS = ("LATEST", "LOWEST_VAL")
_EXPORTS = "exports"


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Every checkpoint below `folder`, of the run in `run_dir`, by step, and what others need of them."""
    folder = Path(request["folder"])
    if not folder.is_dir():
        return {"checkpoints": [], "free": None}
    rows = [_row(path, Path(request["run_dir"])) for path in _directories(folder)]
    pointers = {**_pointers(folder), **_final(Path(request["run_dir"]))}
    for row in rows:
        row["pointers"] = sorted(name for name, target in pointers.items() if target == row["name"])
        row["needed_by"] = sorted(needed_by(Path(request["run_dir"]), row["name"]))
    rows.sort(key=lambda row: (row["step"], row["name"]))
    return {"checkpoints": rows, "free": shutil.disk_usage(folder).free}


def verify(request: dict[str, Any]) -> dict[str, Any]:
    """Name -> what is wrong with it, one phrase each; an export for transformers inside it is looked at as well."""
    return {"faults": {name: of(Path(request["folder"], name)) for name in request["names"]}}


def source(request: dict[str, Any]) -> dict[str, Any]:
    """What another training can begin from: the directory with the weights of checkpoint `name`.

    Raises:
        Stopped: It is not complete, or its weights are in no form that a training begins from yet.
    """
    checkpoint, run_dir = Path(request["folder"], request["name"]), Path(request["run_dir"])
    found = of(checkpoint)
    if found:
        raise Stopped(f"{checkpoint} is not complete: {faults.in_short(found)}", request["others"])
    exported = exports(run_dir) / checkpoint.name
    inside = checkpoint / "model" / "consolidated"
    for path in (exported, inside):
        if path.is_dir() and not start_faults(path):
            return {"path": str(path), "may_go": path == inside and not (run_dir / contract.FINISHED).exists()}
    raise Stopped(f"{checkpoint} holds shards, and no weights in one piece that a training begins from", request["fix"])


def of(checkpoint: Path) -> list[str]:
    """What is wrong with a checkpoint of either framework, and with the export that it may hold."""
    if megatron_faults.iteration(checkpoint) is not None:
        return megatron_faults.find_faults(checkpoint)
    found = faults.find_faults(checkpoint)
    inside = checkpoint / "model" / "consolidated"
    return found + (
        [f"model/consolidated: {fault}" for fault in weights.find_faults(inside)] if inside.is_dir() else []
    )


def start_faults(path: Path) -> list[str]:
    """What is wrong with a directory from which a training is to begin."""
    if (path / megatron_choice.LATEST_NUMBER).exists():
        named = megatron_choice.named(path)
        return megatron_faults.find_faults(named) if named else ["its trackers name no checkpoint"]
    return weights.find_faults(path)


def exports(run_dir: Path) -> Path:
    """Where exports go that nobody has named a directory for."""
    return run_dir / _EXPORTS


def needed_by(run_dir: Path, name: str) -> Iterator[str]:
    """Runs that began from a checkpoint, and are not finished: each of their attempts may read it again."""
    folder = run_dir / contract.READERS
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            told = json.loads(regular.text(file))
            reader = Path(told["run_dir"])
            if told["checkpoint"] == name and reader.is_dir() and not (reader / contract.FINISHED).exists():
                yield str(told["run_name"])
        except OSError:
            yield file.stem  # that run's name; which checkpoint it needs cannot be read
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # of a version that writes them otherwise, or half written by one that was killed


def is_removable(name: str) -> bool:
    """Whether a name is one of a checkpoint, or of what was one."""
    known = contract.checkpoint_step(name) is not None or _ASIDE.fullmatch(name) or _REMOVED.fullmatch(name)
    return bool(known) and "/" not in name


def _directories(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_removable(path.name) and path.is_dir() and not path.is_symlink()]


def _row(path: Path, run_dir: Path) -> dict[str, Any]:
    aside, removed = _ASIDE.fullmatch(path.name), _REMOVED.fullmatch(path.name)
    own = removed.group(1) if removed else (aside.group(1) or aside.group(3)) if aside else path.name
    names = [one.name for one in path.iterdir()]
    state = REMOVED if removed else ASIDE if aside else COMPLETE if contract.is_saved(own, names) else INCOMPLETE
    sizes = list(_sizes(path))
    inside = path / "model" / "consolidated"
    there = [str(one) for one in (inside, exports(run_dir) / path.name) if one.is_dir()]
    return {
        "name": path.name,
        "step": contract.checkpoint_step(own) if contract.checkpoint_step(own) is not None else -1,
        "state": state,
        "bytes": sum(size for size, _ in sizes),
        "saved": max((when for _, when in sizes), default=None),
        "exports": there,
        "losses": _losses(path),
        "evaluations": _evaluations(path),
        "evaluation_job": evaluations.job(path),
    }


def _sizes(path: Path) -> Iterator[tuple[int, float]]:
    """(bytes, time) of its files; one that vanishes meanwhile counts for nothing."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                told = os.lstat(os.path.join(folder, name))  # noqa: PTH118 (a run has many thousands of them)
            except OSError:
                continue
            yield told.st_size, told.st_mtime


def _losses(path: Path) -> dict[str, Any]:
    """AutoModel's losses.json: train_loss and val_loss, which may be NaN; a val_loss of 0.0 is one of no token."""
    try:
        told = json.loads(regular.text(path / "losses.json"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return {}
    numbers = told.items() if isinstance(told, dict) else ()
    found = {str(key): value for key, value in numbers if isinstance(value, (int, float)) and value == value}
    return {key: value for key, value in found.items() if (key, value) != ("val_loss", 0)}


def _evaluations(path: Path) -> list[dict[str, Any]]:
    """Those with a loss."""
    numbers = [one for one in evaluations.results(path) if isinstance(one.get("loss"), (int, float))]
    return [{**one, "name": str(one.get("name")), "data": str(one.get("data"))} for one in numbers]


def _pointers(folder: Path) -> dict[str, str]:
    """What LATEST and LOWEST_VAL, or Megatron-Bridge's trackers, name."""
    found = {}
    for name in _POINTERS:
        link, text = folder / name, folder / f"{name}.txt"
        try:
            if link.is_symlink():
                found[name] = Path(os.readlink(link)).name  # noqa: PTH115 (Python 3.8)
            elif text.is_file():
                found[name] = Path(regular.text(text).strip()).name
        except OSError:
            continue
    named = megatron_choice.named(folder)
    return {**found, "LATEST": named.name} if named else found


def _final(run_dir: Path) -> dict[str, str]:
    """What the run's end names: the checkpoint of finished.json, and the one whose export `hf` leads to."""
    found = {}
    try:
        told = json.loads(regular.text(run_dir / contract.FINISHED))["checkpoint"]
        found[contract.FINISHED] = Path(told).name
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass  # it has not come to its end, or has saved none
    try:
        parts = Path(os.readlink(run_dir / contract.HF)).parts  # noqa: PTH115 (Python 3.8)
    except OSError:
        return found
    named = next((part for part in reversed(parts) if contract.checkpoint_step(part) is not None), None)
    return {**found, contract.HF: named} if named else found
