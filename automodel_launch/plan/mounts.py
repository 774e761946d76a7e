"""What a container sees of the machine around it: directories of that machine, and where they are inside."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from automodel_launch.errors import ProfileError

SOURCELESS = ("tmpfs", "umount")  # pyxis's: an empty file system, and one of the image's that is taken away
VARIABLE = re.compile(r"(?:~|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\})(?=/|$)")


@dataclass(frozen=True)
class Mount:
    """`source` of the machine or cluster at `target` in the container; both may begin with `~` or `$NAME`."""

    source: str
    target: str
    flags: str = ""
    written: str = ""

    @property
    def text(self) -> str:
        """As a profile writes it."""
        return ":".join(part for part in (self.source, self.target, self.flags) if part)

    @property
    def word(self) -> str:
        """The same for a line of bash, which puts the variables' values in."""
        return ":".join(part for part in (shell(self.source), shell(self.target), self.flags) if part)

    @property
    def has_source(self) -> bool:
        """A directory or file of the machine stands behind it; else it is pyxis's own word, or a volume of Docker's."""
        return self.source.startswith("/") or has_variable(self.source)

    @property
    def read_only(self) -> bool:
        """The container cannot write there."""
        return "ro" in re.split("[,+]", self.flags)


def pairs(mounts: Iterable[Mount]) -> list[list[str]]:
    """[target, source] of those that have a source, for look-ups of paths."""
    return [[mount.target, mount.source] for mount in mounts if mount.has_source]


def has_variable(path: str) -> bool:
    """It begins with `~` or `$NAME`."""
    return bool(VARIABLE.match(path))


def shell(path: str) -> str:
    """A path as a word of bash. A variable that is not set ends the shell, with a message that says so."""
    match = VARIABLE.match(path)
    if not match:
        return shlex.quote(path)
    name = match[1] or match[2] or "HOME"
    rest = path[match.end() :]
    return f'"${{{name}:?is not set, and mounts or container_image name it}}"{shlex.quote(rest) if rest else ""}'


def expanded(path: str, environ: Mapping[str, str], key: str) -> str:
    """A path with this machine's own values.

    Raises:
        ProfileError: a variable is not set; `key` tells where the path stands.
    """
    match = VARIABLE.match(path)
    if not match:
        return path
    name = match[1] or match[2] or "HOME"
    if not environ.get(name):
        raise ProfileError(f"{key}: {path!r}: {name} is not set in this shell.", f"export {name}=...")
    return environ[name] + path[match.end() :]


def outside(path: str, mounts: Iterable[Mount]) -> str | None:
    """The path on the machine of what stands at `path` in the container; None where the container has its own."""
    best = max(
        (mount for mount in mounts if PurePosixPath(path).is_relative_to(mount.target)),
        key=lambda mount: len(mount.target),
        default=None,
    )
    if best is None or not best.has_source:
        return None
    return posixpath.normpath(posixpath.join(best.source, PurePosixPath(path).relative_to(best.target)))
