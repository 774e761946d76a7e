"""Can a directory be made and written, and how much space is free: on this machine, or by a remote probe."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.remote.probes import Result


@dataclass(frozen=True)
class Disk:
    """The directory `root`. `base` is the nearest one above it that exists, and `error` why that cannot be written.

    `free` bytes, `inodes` and the file system's `kind` are None where they cannot be told.
    """

    root: str
    base: str
    error: str | None = None
    free: int | None = None
    inodes: int | None = None
    kind: str | None = None

    @property
    def exists(self) -> bool:
        """The directory is there."""
        return self.base == self.root


def probe(root: str) -> str:
    """Bash that prints what `read` reads. A file is written and removed: nothing else finds quotas for sure."""
    return f"""
base={shlex.quote(root)}
while [ ! -e "$base" ] && [ ! -L "$base" ]; do base=${{base%/*}}; base=${{base:-/}}; done
printf '%s\\n' "$base"
stat -f -c '%a %S %d %c %T' "$base"
file=$(mktemp "$base/.doctor.XXXXXX") || exit 1
echo written > "$file"; code=$?
rm -f "$file"; exit $code
"""


def read(root: str, result: Result) -> Disk:
    """The result of `probe`."""
    base, stat, *errors = [*result.text.splitlines(), "", ""]
    last = next((line for line in reversed(errors) if line), result.brief)
    error = last.rpartition(": ")[2] if result.code else None  # `mktemp: failed to ...: Permission denied`
    words = stat.split(maxsplit=4)
    if len(words) < 5 or not all(word.isdigit() for word in words[:4]):
        return Disk(root, base or root, error)
    blocks, size, inodes, total, kind = *map(int, words[:4]), words[4]
    return Disk(root, base, error, blocks * size, inodes if total else None, kind)


def local(root: str) -> Disk:
    """The same on this machine."""
    base = Path(root)
    while not os.path.lexists(base):
        base = base.parent
    try:
        space = os.statvfs(base)
        with tempfile.TemporaryFile(dir=base) as file:
            file.write(b"written\n")
    except OSError as error:
        return Disk(root, str(base), error.strerror or str(error))
    return Disk(root, str(base), None, space.f_bavail * space.f_frsize, space.f_favail if space.f_files else None)
