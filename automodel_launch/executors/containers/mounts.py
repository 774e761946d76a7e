"""What a container sees of the machine around it: `mounts`, and the job root. Nothing else.

The job root is mounted at its own path: agent.json, config.yaml and the run's directory hold absolute paths, which are
then right on both sides. The job's directory stands at /nemo_run as well, as NeMo-Run has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from automodel_launch.errors import ProfileError
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH
from automodel_launch.plan.mounts import SOURCELESS, VARIABLE, Mount

# pyxis joins them by `+`; they are those of mount(8), and enroot's own, which begin with x-
_FLAGS = frozenset(
    (
        *("ro", "rw", "bind", "rbind", "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable"),
        *("runbindable", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime", "diratime"),
        *("nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "sync"),
        *("async", "dirsync", "remount", "move", "silent", "loud", "mand", "nomand", "auto", "noauto", "nofail"),
        "defaults",
    )
)
_OWN_FLAG = re.compile(r"x-[a-z-]+(=[a-z]+)?|[a-z]+=[A-Za-z0-9_.%-]+")
# what docker run --volume takes beside ro and rw: labels of SELinux, consistency on a Mac, propagation
_DOCKER_FLAGS = frozenset(
    (
        *("ro", "rw", "z", "Z", "cached", "delegated", "consistent", "nocopy"),
        *("private", "rprivate", "shared", "rshared", "slave", "rslave"),
    )
)
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_FORMS = '"/lustre/data:/data", "/lustre/data:/data:ro", "~/cache", "$SCRATCH/x:/x"'


def read(written: Iterable[str], job_root: str, source: str, docker: bool = False) -> list[Mount]:
    """The profile's mounts, and the job root where they do not hold it; `source` tells where they were set.

    As pyxis takes them, `tmpfs:/x` and `umount:/x` too; with `docker` as Docker does: volumes, flags with commas.

    Raises:
        ProfileError: one is not understood, or two have one target, or one hides another or the job's files.
    """
    mounts = [_docker(text, source) if docker else _pyxis(text, source) for text in written]
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
        for path in (mount.source, mount.target) if mount.has_source else (mount.target,):
            match = VARIABLE.match(path)
            rest = path[match.end() :] if match else path
            if (rest and rest != "/" and not SAFE_PATH.fullmatch(rest)) or "," in rest:
                raise ProfileError(
                    f"mounts ({source}): {mount.written or mount.text!r}: a list of mounts cannot carry {path!r}.",
                    "paths of letters, digits and _ . / @ + = -; a link to the directory can have such a name",
                )


def _pyxis(text: str, source: str) -> Mount:
    """One of pyxis's, in which `tmpfs` and `umount` stand for no directory."""
    mount = _read(text, source, own=text.startswith(tuple(f"{word}:" for word in SOURCELESS)))
    if mount.flags:  # pyxis passes over a colon with nothing behind it
        _check_flags(text, mount.flags.split("+"), source)
    return mount


def _docker(text: str, source: str) -> Mount:
    """One of Docker's, in which a source without a slash is the name of a volume."""
    start, colon, _ = text.partition(":")
    mount = _read(text, source, own=bool(colon and start not in SOURCELESS and _VOLUME.fullmatch(start)))
    if mount.flags:
        flags = re.split("[,+]", mount.flags)
        wrong = [flag for flag in flags if flag not in _DOCKER_FLAGS]
        if wrong:
            raise ProfileError(
                f"mounts ({source}): {text!r}: {wrong[0]!r} is no flag of a mount that Docker has.",
                f"ro, rw, {', '.join(sorted(_DOCKER_FLAGS - {'ro', 'rw'}))}; several with a comma",
            )
        mount = replace(mount, flags=",".join(flags))
    return mount


def _read(text: str, source: str, own: bool) -> Mount:
    """`own`: the first part is no path."""
    parts = text.split(":")
    absolute = all(part.startswith("/") or VARIABLE.match(part) for part in parts[own:2])
    clean = text.isprintable() and ".." not in text.replace(":", "/").split("/")
    if not (len(parts) <= 3 and absolute and clean):
        why = " (a path with a colon cannot be told from two)" if len(parts) > 3 else ""
        raise ProfileError(f"mounts ({source}): {text!r} is not understood{why}.", f"absolute paths: {_FORMS}")
    paths = [str(PurePosixPath(part)) for part in parts[:2]]
    return Mount(paths[0], paths[-1], flags=parts[2] if len(parts) == 3 else "", written=text)


def _check_flags(text: str, flags: list[str], source: str) -> None:
    wrong = [flag for flag in flags if flag not in _FLAGS and not _OWN_FLAG.fullmatch(flag)]
    if not wrong:
        return
    read_only = re.sub(r"[^a-z]", "", "+".join(flags).lower()) in ("ro", "r", "readonly", "read")
    right = text.rpartition(":")[0] + (":ro" if read_only else "")
    raise ProfileError(
        f"mounts ({source}): {text!r}: {wrong[0]!r} is no flag of a mount: ro, rw, or others of mount(8), with a +.",
        f'"{right}"',
    )


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
