"""What rehearsals have found, so that the next launch of the same plan costs nothing. One file an answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from automodel_launch.rehearsal import result
from automodel_launch.rehearsal.result import Result

KEPT = 200  # the newest
DAY_S = 86400


def key(parts: Any) -> str:
    """A digest of JSON data."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()


def load(folder: Path, name: str) -> Result | None:
    """The answer of that key; None where there is none, or the file is not one that we have written."""
    try:
        return result.parse(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def was_late(folder: Path, name: str) -> int | None:
    """The seconds within which there was no answer, within the last day; None where that did not happen."""
    path = folder / f"{name}.late"
    try:
        return int(path.read_text(encoding="utf-8")) if time.time() - path.stat().st_mtime < DAY_S else None
    except (OSError, ValueError):
        return None


def remember_late(folder: Path, name: str, seconds: int) -> None:
    """So that nobody who has not asked for it waits as long again."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.late").write_text(f"{seconds}\n", encoding="utf-8")
        _forget_oldest(folder)


def save(folder: Path, name: str, found: Result) -> None:
    """Keep an answer. Two launches at once write one after the other; a folder that cannot be written keeps nothing."""
    if not found.lasts:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(dir=folder, prefix=".")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(dict(found.document), file)
            Path(partial).replace(folder / f"{name}.json")
        finally:
            Path(partial).unlink(missing_ok=True)
        _forget_oldest(folder)


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT:]:
        path.unlink(missing_ok=True)
