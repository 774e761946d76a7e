"""What a container of a Slurm job sees of the cluster: `mounts`, the job root, and NeMo-Run's /nemo_run. Nothing else.

NeMo-Run mounts the job's directory at /nemo_run and starts in /nemo_run/code. The job root is mounted at its own path
as well: agent.json, config.yaml and the run's directory hold absolute paths, which are then right on both sides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from automodel_launch.errors import ProfileError
from automodel_launch.executors.batch_words import NEMO_RUN, SAFE_PATH

NO_IMAGE = "none"
_FLAGS = re.compile(r"[a-z][a-z=+-]*")  # pyxis: joined by `+`


@dataclass(frozen=True)
class Mount:
    """`source` of the cluster at `target` in the container."""

    source: str
    target: str
    flags: str = ""
    written: str = ""

    @property
    def text(self) -> str:
        """As pyxis takes it."""
        return ":".join(part for part in (self.source, self.target, self.flags) if part)


def image(written: str | None) -> str | None:
    """The image to use; "none" is how a profile says that jobs run on the nodes as they are."""
    return None if written in (None, NO_IMAGE) else written


def for_pyxis(written: tuple[str, ...], job_root: str, source: str) -> list[str]:
    """The profile's mounts, and the job root where they do not hold it; `source` tells where they were set.

    Raises:
        ProfileError: one is not understood, or two have one target, or one hides the job's files.
    """
    mounts = [_read(text, source) for text in written]
    for number, mount in enumerate(mounts):
        _check_target(mount, job_root, source)
        twin = next((other for other in mounts[:number] if other.target == mount.target), None)
        if twin:
            raise ProfileError(f"mounts ({source}): {twin.written!r} and {mount.written!r} have one target.")
    own = Mount(job_root, job_root)
    held = any((mount.source, mount.target) == (own.source, own.target) for mount in mounts)
    return [mount.text for mount in (mounts if held else [*mounts, own])]


def _read(text: str, source: str) -> Mount:
    parts = text.split(":")
    good = len(parts) in (2, 3) and all(SAFE_PATH.fullmatch(part) or part == "/" for part in parts[:2])
    if not good or "," in text or ".." in text.split("/") or (len(parts) == 3 and not _FLAGS.fullmatch(parts[2])):
        raise ProfileError(
            f"mounts ({source}): {text!r} is not understood.",
            'absolute paths of letters, digits and _ . / @ + = -: "/lustre/data:/data", "/lustre/data:/data:ro"',
        )
    source_path, target = (str(PurePosixPath(part)) for part in parts[:2])
    return Mount(source_path, target, flags="".join(parts[2:]), written=text)


def _check_target(mount: Mount, job_root: str, source: str) -> None:
    where = f"mounts ({source}): {mount.written!r}"
    if mount.target == "/":
        raise ProfileError(f"{where}: a mount at / hides the image.")
    if mount.target == NEMO_RUN or mount.target.startswith(f"{NEMO_RUN}/"):
        raise ProfileError(f"{where}: {NEMO_RUN} is where NeMo-Run mounts the job's directory.", "another target")
    if _overlaps(mount.target, job_root) and mount.source != mount.target:
        raise ProfileError(
            f"{where}: hides the job root {job_root}, which the job needs at its own path.", "another target"
        )
    if mount.target == job_root and "ro" in mount.flags.split("+"):
        raise ProfileError(f"{where}: the job writes below its job root.", f'"{job_root}:{job_root}"')


def _overlaps(one: str, other: str) -> bool:
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
