"""The checkpoint to resume from among all of a run, and what has to be out of the way for AutoModel to take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import contract
from contract import LATEST

from .faults import find_faults, in_short


@dataclass
class Choice:
    """What was found below a checkpoint directory."""

    chosen: Path | None = None
    damaged: dict[Path, list[str]] = field(default_factory=dict)
    interrupted: list[Path] = field(default_factory=list)
    beyond: list[Path] = field(default_factory=list)  # complete, and later than the one that is pointed at


class NoneComplete(Exception):
    """There are checkpoints, and all are damaged; the message is one line that says what would help."""


def choose(root: Path) -> Choice:
    """AutoModel's own order, with damaged checkpoints passed over: what LATEST names, then the highest step.

    It reads only. Later steps than the chosen one are looked at, too: AutoModel would stop when it comes to save them.

    Raises:
        OSError: The file system would not say.
    """
    root, choice = _absolute(root), Choice()
    for checkpoint in _candidates(root):
        if choice.chosen is not None and _step(checkpoint) <= _step(choice.chosen):
            continue
        if (checkpoint / contract.INCOMPLETE).exists():
            choice.interrupted.append(checkpoint)
            continue
        faults = find_faults(checkpoint)
        if faults:
            choice.damaged[checkpoint] = faults
        elif choice.chosen is None:
            choice.chosen = checkpoint
        else:
            choice.beyond.append(checkpoint)
    return choice


def settle(root: Path) -> tuple[Path | None, list[str]]:
    """Choose, and see to it that AutoModel chooses the same: damaged checkpoints are renamed, LATEST is corrected.

    Returns the checkpoint, None where there is none to resume from, and lines for the log. Nothing is deleted.

    Raises:
        NoneComplete: There are checkpoints, and all are damaged. Nothing was changed.
        OSError: The file system would not say or do it.
    """
    root = _absolute(root)
    choice = choose(root)
    if choice.chosen is None and choice.damaged:
        named = "; ".join(f"{path.name}: {in_short(faults)}" for path, faults in choice.damaged.items())
        raise NoneComplete(
            f"no complete checkpoint in {root} ({named}). To load one all the same set checkpoint.restore_from to its "
            "directory; to start from the beginning move them out of there"
        )
    lines = [f"checkpoint {path.name} passed over: its save was interrupted" for path in choice.interrupted]
    for path, faults in choice.damaged.items():
        aside = _move_aside(path) if path.parent == root else path
        lines.append(f"checkpoint {path.name} passed over, kept as {aside.name}: it is damaged: {in_short(faults)}")
    if choice.chosen is None:
        return None, lines
    lines += [
        f"checkpoint {path.name} is complete and later than {choice.chosen.name}, which {LATEST} names: this run will "
        f"stop when it comes to save that step; move it away, or remove {LATEST} to resume from it"
        for path in choice.beyond
    ]
    pointed = read_pointer(root)
    if pointed is not None and pointed != choice.chosen:
        _point(root, choice.chosen)
        lines.append(f"{LATEST} named {pointed.name}; it names {choice.chosen.name} now")
    return choice.chosen, [*lines, f"checkpoint {choice.chosen.name} is complete: resuming from it"]


def read_pointer(root: Path) -> Path | None:
    """What LATEST names, which need not exist; None without LATEST. LATEST.txt counts where there is no link."""
    link, text = root / LATEST, root / f"{LATEST}.txt"
    if link.is_symlink():
        target = str(link.readlink())
    elif text.is_file():
        target = text.read_text(encoding="utf-8").strip()
    else:
        return None
    return _absolute(root / target) if target else None


def _absolute(path: Path) -> Path:
    """As AutoModel reads paths: without `..`, and with links left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _candidates(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    pointed = read_pointer(root)
    if pointed is not None and pointed.is_dir():
        yield pointed
    found = [path for path in root.glob("*step_*") if contract.CHECKPOINT_STEP.search(path.name) and path.is_dir()]
    for path in sorted((path for path in found if not path.is_symlink()), key=_step, reverse=True):
        if path != pointed:
            yield path


def _step(checkpoint: Path) -> int:
    found = contract.CHECKPOINT_STEP.search(checkpoint.name)
    return int(found[1]) if found else -1


def _move_aside(checkpoint: Path) -> Path:
    """Its step can be saved again, and neither AutoModel's search nor its retention sees a name that ends like this."""
    return renamed(checkpoint, f"{checkpoint.name}.damaged")


def renamed(checkpoint: Path, name: str) -> Path:
    """It, under the first of `name`, `name-2`, `name-3`, ... that is free."""
    number = 1
    while (aside := checkpoint.with_name(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return checkpoint.rename(aside)


def _point(root: Path, checkpoint: Path) -> None:
    """LATEST in one step, as AutoModel writes it: a relative link, or a text file where there are no links."""
    link, text = root / LATEST, root / f"{LATEST}.txt"
    target = os.path.relpath(checkpoint, root)
    temporary = root / f".{LATEST}.{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target)
    except OSError:
        temporary.write_text(target, encoding="utf-8")
        temporary.replace(text)
        link.unlink(missing_ok=True)
    else:
        temporary.replace(link)
        text.unlink(missing_ok=True)
