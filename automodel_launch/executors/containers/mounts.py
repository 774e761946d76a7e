"""What a container sees of the machine around it: `mounts`, and the job root. Nothing else.

The job root is mounted at its own path: agent.json, config.yaml and the run's directory hold absolute paths, which are
then right on both sides. The job's directory stands at /nemo_run as well, as NeMo-Run has it.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from automodel_launch.errors import ProfileError
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH

_VARIABLE = re.compile(r"(?:~|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\})(?=/|$)")
_FLAGS = re.compile(r"[a-z][a-z=+-]*")  # pyxis: joined by `+`
_FORMS = '"/lustre/data:/data", "/lustre/data:/data:ro", "~/cache", "$SCRATCH/x:/x"'


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
    def read_only(self) -> bool:
        """The container cannot write there."""
        return "ro" in self.flags.split("+")


def has_variable(path: str) -> bool:
    """It begins with `~` or `$NAME`."""
    return bool(_VARIABLE.match(path))


def shell(path: str) -> str:
    """A path as a word of bash. A variable that is not set ends the shell, with a message that says so."""
    match = _VARIABLE.match(path)
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
    match = _VARIABLE.match(path)
    if not match:
        return path
    name = match[1] or match[2] or "HOME"
    if not environ.get(name):
        raise ProfileError(f"{key}: {path!r}: {name} is not set in this shell.", f"export {name}=...")
    return environ[name] + path[match.end() :]


def read(written: Iterable[str], job_root: str, source: str) -> list[Mount]:
    """The profile's mounts, and the job root where they do not hold it; `source` tells where they were set.

    Raises:
        ProfileError: one is not understood, or two have one target, or one hides another or the job's files.
    """
    mounts = [_read(text, source) for text in written]
    for number, mount in enumerate(mounts):
        _check_target(mount, job_root, source)
        for other in mounts[:number]:
            if other.target == mount.target:
                raise ProfileError(
                    f"mounts ({source}): {other.written!r} and {mount.written!r} have one target, {mount.target}.",
                    "another target for one of them, or leave it out",
                )
            if PurePosixPath(other.target).is_relative_to(mount.target):
                raise ProfileError(
                    f"mounts ({source}): {mount.written!r} hides {other.written!r}, which stands before it.",
                    "the mount of the outer directory first",
                )
    held = any((mount.source, mount.target) == (job_root, job_root) for mount in mounts)
    return mounts if held else [*mounts, Mount(job_root, job_root)]


def check_for_scripts(mounts: Iterable[Mount], source: str) -> None:
    """pyxis and apptainer take mounts as one word, in which commas, colons and blanks have a meaning or are lost.

    Raises:
        ProfileError: a path has a character that does not survive.
    """
    for mount in mounts:
        for path in (mount.source, mount.target):
            match = _VARIABLE.match(path)
            rest = path[match.end() :] if match else path
            if (rest and rest != "/" and not SAFE_PATH.fullmatch(rest)) or "," in rest:
                raise ProfileError(
                    f"mounts ({source}): {mount.written or mount.text!r}: a list of mounts cannot carry {path!r}.",
                    "paths of letters, digits and _ . / @ + = -; a link to the directory can have such a name",
                )


def outside(path: str, mounts: Iterable[Mount]) -> str | None:
    """The path on the machine of what stands at `path` in the container; None where the container has its own."""
    best = max(
        (mount for mount in mounts if PurePosixPath(path).is_relative_to(mount.target)),
        key=lambda mount: len(mount.target),
        default=None,
    )
    if best is None:
        return None
    return posixpath.normpath(posixpath.join(best.source, PurePosixPath(path).relative_to(best.target)))


def _read(text: str, source: str) -> Mount:
    parts = text.split(":")
    absolute = all(part.startswith("/") or _VARIABLE.match(part) for part in parts[:2])
    flags = parts[2] if len(parts) == 3 else ""
    clean = text.isprintable() and ".." not in text.replace(":", "/").split("/")
    if not (len(parts) <= 3 and absolute and clean and (not flags or _FLAGS.fullmatch(flags))):
        why = " (a path with a colon cannot be told from two)" if len(parts) > 3 else ""
        raise ProfileError(f"mounts ({source}): {text!r} is not understood{why}.", f"absolute paths: {_FORMS}")
    paths = [str(PurePosixPath(part)) for part in parts[:2]]
    return Mount(paths[0], paths[-1], flags=flags, written=text)


def _check_target(mount: Mount, job_root: str, source: str) -> None:
    where = f"mounts ({source}): {mount.written!r}"
    if mount.target == "/":
        raise ProfileError(f"{where}: a mount at / hides the image.", f'a directory of its own: "{mount.source}:/data"')
    if mount.target == NEMO_RUN or mount.target.startswith(f"{NEMO_RUN}/"):
        raise ProfileError(f"{where}: {NEMO_RUN} is where NeMo-Run mounts the job's directory.", "another target")
    if _overlaps(mount.target, job_root) and mount.source != mount.target:
        raise ProfileError(
            f"{where}: hides the job root {job_root}, which the job needs at its own path.", "another target"
        )
    if mount.target == job_root and mount.read_only:
        raise ProfileError(f"{where}: the job writes below its job root.", f'"{job_root}:{job_root}"')


def _overlaps(one: str, other: str) -> bool:
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
