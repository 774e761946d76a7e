"""Makes of a checkpoint what others load: a directory for transformers, peft, or another run of Megatron-Bridge.

Written whole or not at all, beside its place and renamed at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from . import durable, faults, listing, regular, weights
from .megatron import choice as megatron_choice
from .megatron import faults as megatron_faults
from .stopped import Stopped

UNFINISHED: list[Path] = []  # what is being written, and has to go where this process is ended
_LOCK = ".lock"
_FOR_OURSELVES = ("fqn_to_",)  # beginnings of names in .hf_metadata that only AutoModel reads
_LIBRARY = "@library"  # in a text: what loads the export


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Export checkpoint `source` to `output`, with the files `texts` (name -> text) beside the weights.

    Raises:
        Stopped: It cannot be exported; nothing was left behind.
    """
    source = Path(request["source"])
    output = Path(request["output"]) if request["output"] else listing.exports(Path(request["run_dir"])) / source.name
    found = listing.of(source)
    if found:
        raise Stopped(f"{source} is not complete: {faults.in_short(found)}", request["others"])
    if output.is_dir() and any(output.iterdir()):
        if not request["output"] and not listing.start_faults(output):
            return {"output": str(output), "there": True}
        raise Stopped(f"{output} is not empty; it is left as it is", "name another directory, or remove it")
    if output.exists() and not output.is_dir():
        raise Stopped(f"{output} is a file", "name another directory")
    if megatron_faults.iteration(source) is not None:
        if request["output"]:
            raise Stopped(f"{source} is in Megatron's format, which transformers does not load", request["convert"])
        _write(output, lambda target: _megatron_root(source, output, target))
    else:
        _check_room(source, output)
        _write(output, lambda target: _for_transformers(source, target, request["texts"]))
    return {"output": str(output), "there": False}


def _write(output: Path, how: Any) -> None:
    """Have `how` fill a new directory, which then takes the place of `output`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f".{output.name}.partial-*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    partial = output.with_name(f".{output.name}.partial-{os.urandom(4).hex()}")
    UNFINISHED.append(partial)
    try:
        partial.mkdir()
        with (partial / _LOCK).open("w") as file:
            with contextlib.suppress(OSError):  # no locks on this file system: what is left there stays
                fcntl.flock(file, fcntl.LOCK_EX)
            how(partial)
            durable.sync(partial)
            if output.is_dir():
                output.rmdir()  # it is empty
            (partial / _LOCK).unlink()
            durable.rename(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        UNFINISHED.remove(partial)


def _is_left(partial: Path) -> bool:
    """Whether an export that was killed has left it: each holds a lock in it while it lives."""
    try:
        with (partial / _LOCK).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or just made, or renamed at this moment
        return False
    return True


def _check_room(source: Path, output: Path) -> None:
    """At least the weights as they are stored; casts to a smaller type are rare enough."""
    inside = source / "model" / "consolidated"
    held = inside if inside.is_dir() else source / "model"
    needed = sum(path.stat().st_size for path in held.glob("*.safetensors"))
    there = next(path for path in (output, *output.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise Stopped(f"{there} has {_size(free)} free, and the weights are {_size(needed)}", "name another directory")


def _for_transformers(source: Path, target: Path, texts: dict[str, str]) -> None:
    inside, model = source / "model" / "consolidated", source / "model"
    if inside.is_dir():
        _copy(inside, target)
    elif (model / weights.ADAPTER).exists():
        _copy(model, target)
    else:
        _copy(model / ".hf_metadata", target)
        _consolidate(model, target)
    library = "peft" if (target / weights.ADAPTER).exists() else "transformers"
    for name, text in texts.items():
        (target / name).write_text(text.replace(_LIBRARY, library, 1), encoding="utf-8")
    found = weights.find_faults(target)
    if found:
        raise Stopped(f"the export is not whole: {faults.in_short(found)}; nothing was left behind")


def _copy(folder: Path, target: Path) -> None:
    """Files with their contents, never a link: what is exported is the user's own, to change and to move."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        own = path.name.startswith(_FOR_OURSELVES) or path.name == "consolidate.sh" or path.name.startswith("shard-")
        if own or path.name == ".hf_metadata":
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _consolidate(model: Path, target: Path) -> None:
    """AutoModel's own tool puts the ranks' shards together, in the types of the published weights.

    Raises:
        Stopped: It is not installed here, or the checkpoint lacks what it needs.
    """
    metadata = model / ".hf_metadata"
    try:
        files = json.loads(regular.text(metadata / "fqn_to_file_index_mapping.json"))
    except FileNotFoundError:
        raise Stopped(
            f"{model} has no .hf_metadata: the model is none of transformers', or it was saved in another format"
        ) from None
    dtypes = metadata / "fqn_to_dtype_mapping.json"
    try:
        from nemo_automodel.components.checkpoint._backports import consolidate_hf_safetensors as consolidation
    except ImportError as error:
        raise Stopped(
            f"the shards of {model} have to be put together, which needs AutoModel in this Python: {error}",
            "export the last checkpoint, which holds model/consolidated; or set checkpoint.save_consolidated=every",
        ) from None
    consolidation.consolidate_safetensors_files(
        str(model),
        str(target),
        fqn_to_index_mapping={name: int(number) for name, number in files.items()},
        fqn_to_dtype_mapping=json.loads(regular.text(dtypes)) if dtypes.exists() else None,
    )


def _megatron_root(source: Path, output: Path, target: Path) -> None:
    """Megatron-Bridge begins from what a directory's trackers name, so one iteration gets a directory of its own."""
    (target / source.name).symlink_to(os.path.relpath(source, output))
    shutil.copyfile(source / megatron_faults.TRAIN_STATE, target / megatron_choice.LATEST_STATE)
    (target / megatron_choice.LATEST_NUMBER).write_text(str(megatron_choice.number(source)), encoding="utf-8")


def _size(count: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"
