"""Which old checkpoints may go: none while fewer complete ones than wanted would stay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ..faults import in_short
from . import faults
from .choice import checkpoints, number


def prune(root: Path, keep: int, say: Callable[[str], None]) -> list[Path]:
    """Delete all but the `keep` newest complete checkpoints and what is newer than those; returns what was deleted.

    The newest complete one is looked at closely first: while it is damaged, nothing is deleted. `say` tells of it.

    Raises:
        OSError: The file system would not say or do it.
    """
    ended = [path for path in checkpoints(root) if not faults.is_interrupted(path)]
    kept = ended[-keep:]
    if keep <= 0 or len(kept) < keep or len(ended) == len(kept):
        return []
    found = faults.find_faults(kept[-1])
    if found:
        say(f"no old checkpoint is deleted: {kept[-1].name} is not complete: {in_short(found)}")
        return []
    old = [path for path in checkpoints(root) if number(path) < number(kept[0])]
    for path in old:
        shutil.rmtree(path)
    return old
