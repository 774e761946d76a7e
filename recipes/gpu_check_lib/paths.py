"""Is a path there, readable, writable, and how much space its file system has."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from gpu_check_lib.bounded import Calls

ALWAYS = (
    "/tmp",
    "/dev/shm",
)  # every node's own: compilation caches, and what processes share; only free space counts


def probe(paths: tuple[dict[str, Any], ...], limit_s: float) -> list[dict[str, Any]]:
    """Facts of each of `paths` ({path, write}): error (None: fine), free (bytes), inodes (None: no limit).

    A path may begin with `~` or `$NAME`. Whatever a hanging file system does, this takes no longer than `limit_s`.
    """
    wanted = [{"path": entry["path"], "write": bool(entry.get("write", True)), "room": False} for entry in paths]
    wanted += [{"path": path, "write": True, "room": True} for path in ALWAYS if Path(path).is_dir()]
    calls = {str(number): _call(entry["path"], entry["write"]) for number, entry in enumerate(wanted)}
    found = Calls(calls, limit_s).results()
    late = {"error": f"no answer within {limit_s:g} s", "free": None, "inodes": None}
    return [{**entry, **found.get(str(number), late)} for number, entry in enumerate(wanted)]


def _call(path: str, write: bool) -> Any:
    return lambda: facts(os.path.expandvars(Path(path).expanduser()), write)


def facts(path: str, write: bool) -> dict[str, Any]:
    """What `probe` returns for one path."""
    error, doing = None, "not there"
    try:
        space = os.statvfs(path)
        doing = "not readable"
        if Path(path).is_dir():
            with os.scandir(path) as entries:
                next(entries, None)
        else:
            with open(path, "rb") as file:
                file.read(1)
        doing = "not writable"
        if write:
            _write(path)
    except OSError as failure:
        error = f"{doing}: {failure.strerror or failure}"
        if doing == "not there":
            return {"error": error, "free": None, "inodes": None}
    return {
        "error": error,
        "free": space.f_bavail * space.f_frsize,
        "inodes": space.f_favail if space.f_files else None,
    }


def _write(path: str) -> None:
    """A file is made, read again and removed: nothing else finds quotas and read-only mounts for sure."""
    if not Path(path).is_dir():
        with open(path, "ab"):
            return
    with tempfile.NamedTemporaryFile(dir=path, prefix=".gpu-check-") as file:
        file.write(b"written")
        file.flush()
        os.fsync(file.fileno())
        with open(file.name, "rb") as again:
            if again.read() != b"written":
                raise OSError(0, "what was written is not what is read")
