"""The checkpoint to resume from among all of a run, and what has to be out of the way for Megatron-Bridge."""

from __future__ import annotations

import os
from pathlib import Path

import contract

from .. import regular
from ..choice import Choice, NoneComplete, renamed
from ..faults import in_short
from . import faults

LATEST_STATE, LATEST_NUMBER = contract.MEGATRON_LATEST
_ASIDE = "damaged-"  # before the name: Megatron-Bridge's retention takes every iter_* for a number


def choose(root: Path) -> Choice:
    """What the trackers name, where that is complete; then the latest that is. It reads only.

    Raises:
        OSError: The file system would not say.
    """
    choice, wanted = Choice(), named(root)
    complete: list[Path] = []
    for checkpoint in reversed(checkpoints(root)):
        if complete and (wanted is None or number(checkpoint) < number(wanted)):
            break  # older ones do not count, whatever they hold
        if faults.is_interrupted(checkpoint):
            choice.interrupted.append(checkpoint)
            continue
        found = faults.find_faults(checkpoint)
        if found:
            choice.damaged[checkpoint] = found
        else:
            complete.append(checkpoint)
    choice.chosen = wanted if wanted in complete else complete[0] if complete else None
    choice.beyond = [one for one in reversed(complete) if choice.chosen and number(one) > number(choice.chosen)]
    return choice


def number(checkpoint: Path) -> int:
    """Its iterations, -1 for another directory."""
    found = faults.iteration(checkpoint)
    return -1 if found is None else found


def checkpoints(root: Path) -> list[Path]:
    """Every directory there that has a checkpoint's name, the oldest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if faults.iteration(path) is not None and path.is_dir()]
    return sorted(found, key=number)


def named(root: Path) -> Path | None:
    """The checkpoint that the trackers name, which need not exist; None where they name none, or cannot be read.

    Megatron-Bridge reads LATEST_STATE first, which is a copy of a train_state.pt: whose, their bytes tell.
    """
    try:
        state = regular.content(root / LATEST_STATE)
    except FileNotFoundError:
        state = b""
    if state:
        for checkpoint in reversed(checkpoints(root)):
            file = checkpoint / faults.TRAIN_STATE
            if file.is_file() and regular.content(file) == state:
                return checkpoint
    try:
        latest = int(regular.text(root / LATEST_NUMBER))
    except (FileNotFoundError, ValueError):
        return None
    return root / f"iter_{latest:07d}"


def settle(root: Path, *, repair: bool = True) -> tuple[Path | None, list[str]]:
    """Choose; with `repair` damaged checkpoints are renamed and the trackers name the chosen one. Nothing is deleted.

    Returns the checkpoint, None where there is none to resume from, and lines for the log.

    Raises:
        NoneComplete: There are checkpoints, and all are damaged. Nothing was changed.
        OSError: The file system would not say or do it.
    """
    choice = choose(root)
    if choice.chosen is None and choice.damaged:
        told = "; ".join(f"{path.name}: {in_short(found)}" for path, found in choice.damaged.items())
        raise NoneComplete(
            f"no complete checkpoint in {root} ({told}). To load one all the same set checkpoint.ckpt_step to its "
            "number; to start from the beginning move them out of there"
        )
    lines = [f"checkpoint {path.name} passed over: its save was interrupted" for path in choice.interrupted]
    for path, found in choice.damaged.items():
        kept = f", kept as {renamed(path, _ASIDE + path.name).name}" if repair else ""
        lines.append(f"checkpoint {path.name} passed over{kept}: it is damaged: {in_short(found)}")
    if choice.chosen is None:
        return None, lines
    lines += [
        f"checkpoint {path.name} is complete and later than {choice.chosen.name}, which the trackers name: this run "
        "will write over it when it comes there; move it away, or remove the trackers to resume from it"
        for path in choice.beyond
    ]
    if repair:
        lines += _point(root, choice.chosen)
    return choice.chosen, [*lines, f"checkpoint {choice.chosen.name} is complete: resuming from it"]


def _point(root: Path, checkpoint: Path) -> list[str]:
    """Have the trackers name the checkpoint; a line where they did not."""
    state, latest = regular.content(checkpoint / faults.TRAIN_STATE), str(number(checkpoint)).encode()
    wanted = {LATEST_STATE: state, LATEST_NUMBER: latest}
    wrong = [name for name, content in wanted.items() if _content(root / name) != content]
    for name in wrong:
        temporary = root / f".{name}.{os.getpid()}.tmp"
        temporary.write_bytes(wanted[name])
        temporary.replace(root / name)
    return [f"{' and '.join(wrong)} did not name {checkpoint.name}; corrected"] if wrong else []


def _content(path: Path) -> bytes | None:
    try:
        return regular.content(path)
    except FileNotFoundError:
        return None
