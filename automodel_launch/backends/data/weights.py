"""A directory from which weights are loaded, as save_pretrained writes it, where this machine sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from automodel_launch.backends.data import rows
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

CONFIG, _INDEX, _SUFFIX = "config.json", ".index.json", ".safetensors"
_LARGEST = 64 << 20  # bytes of an index that is read
_FIX = "a directory that save_pretrained or a download has made, whole"


def check(plan: Plan, key: str, value: Any, pickled: bool = True) -> Iterator[Finding]:
    """It has weights, all shards that its index names, and a config.json that is one.

    Of a directory without config.json it is told elsewhere.

    pickled: files of torch.save, pytorch_model.bin, would do.
    """
    folder = seen(plan, value)
    names = names_in(folder)
    if folder is None or CONFIG not in names:
        return
    where = describe_value(plan, key, value)
    if not isinstance(_json(folder / CONFIG), dict | None):
        yield Finding("error", "no-model", f"{where}: its {CONFIG} is not a JSON object.", _FIX)
    pickles = {name for name in names if name.endswith(".bin")} if pickled else set()
    missing = sorted(_shards(folder, names) - names)
    if missing:
        message = f"{where}: {missing[0]} is not in it, which its index names"
        more = f" (nor {len(missing) - 1} others)" if len(missing) > 1 else ""
        yield Finding("error", "no-model", f"{message}{more}.", _FIX)
    elif not pickles and not any(name.endswith(_SUFFIX) for name in names):
        yield Finding("error", "no-model", f"{where}: there are no weights in it (model{_SUFFIX}).", _FIX)


def seen(plan: Plan, value: Any) -> Path | None:
    """The directory, where this machine sees it and no job makes it before this one begins."""
    return rows.seen(plan, value) if plan.visible and not plan.missing(str(value)) else None


def config(folder: Path) -> dict[str, Any] | None:
    """The content of its config.json; None where that is not there, or no JSON object."""
    found = _json(folder / CONFIG)
    return found if isinstance(found, dict) else None


def names_in(folder: Path | None) -> set[str]:
    """Of a directory's files; none where it cannot be listed."""
    try:
        return {path.name for path in folder.iterdir()} if folder else set()
    except OSError:
        return set()


def _shards(folder: Path, names: set[str]) -> set[str]:
    """Files that the index of safetensors names; none without one, or beside a file that has all."""
    index = _json(folder / f"model{_SUFFIX}{_INDEX}") if f"model{_SUFFIX}" not in names else None
    found = index.get("weight_map") if isinstance(index, dict) else None
    return {str(name) for name in found.values()} if isinstance(found, dict) else set()


def _json(path: Path) -> Any:
    """The content; None of a file that cannot be read or is too large, and the text of one that is not JSON."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
