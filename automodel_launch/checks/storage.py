"""Checkpoints on disk: how many, how large, and whether there is room for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from automodel_launch import backends
from automodel_launch.backends import Checkpoints
from automodel_launch.config import dotted
from automodel_launch.jobs import rundir
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import disk
from automodel_launch.remote.disk import Disk
from automodel_launch.remote.probes import Results

MANY = 100
GB = 10**9
_FILES_A_RANK = 4  # model, optimizer, dataloader, random states
_FILES = 30  # index, config, tokenizer, directories


def number(plan: Plan, checkpoints: Checkpoints) -> int:
    """Checkpoints that the run will still add to the disk: all of them, or as many recent ones as it keeps, the latest
    and the best one, and the one that is being saved.
    """
    done = (rundir.last_step(checkpoints.directory) if plan.visible else None) or 0
    left = max(0, checkpoints.steps - done)
    written = -(-left // checkpoints.every) if checkpoints.every else 2
    return written if checkpoints.keep is None else min(written, checkpoints.keep + 2)


def many(plan: Plan) -> Iterator[Finding]:
    """More checkpoints than anybody needs."""
    checkpoints = backends.of(plan.recipe).checkpoints(plan)
    count = number(plan, checkpoints) if checkpoints else 0
    if checkpoints and count > MANY:
        key = checkpoints.keep_key
        message = f"{describe(plan, checkpoints.every_key)}: {count} checkpoints, and {key} does not limit them."
        yield Finding("warning", "many-checkpoints", message, override(plan, key, 3))


def here(plan: Plan) -> Iterator[Finding]:
    """Room on this machine, for jobs that run on it."""
    directory = _directory(plan)
    if plan.here and directory:
        yield from room(plan, disk.local(directory))


def asked(plan: Plan) -> dict[str, str]:
    """A question to the cluster, where checkpoints are not below the job root, about which it is asked anyway."""
    place = _elsewhere(plan)
    return {"checkpoints": disk.probe(place)} if place else {}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Room there."""
    place = _elsewhere(plan)
    if place:
        yield from room(plan, replace(disk.read(place, answers["checkpoints"]), root=_directory(plan) or ""))


def _directory(plan: Plan) -> str | None:
    """The checkpoints' directory, where it is known here."""
    directory = backends.of(plan.recipe).checkpoint_dir(plan.config, plan.run_dir)
    known = directory and directory.startswith("/") and not dotted.left_to_the_job(directory)
    return directory if known else None


def _elsewhere(plan: Plan) -> str | None:
    """Where the checkpoints' directory is outside a container, if it is not below the job root."""
    directory = _directory(plan)
    if directory is None or f"{directory}/".startswith(f"{plan.job_root}/"):
        return None
    seen = plan.mounts
    place = mounts_.outside(directory, seen) if seen else directory
    return None if place is None or mounts_.has_variable(place) else place


def room(plan: Plan, found: Disk) -> Iterator[Finding]:
    """Whether the checkpoints fit, where `found` is the disk that they are on."""
    checkpoints = backends.of(plan.recipe).checkpoints(plan)
    if checkpoints is None or not _is_below(checkpoints.directory, found.root):
        return
    count, size = number(plan, checkpoints), checkpoints.bytes
    keep_key = checkpoints.keep_key
    if size is not None and found.free is not None:
        need = count * size + checkpoints.export_bytes
        message = (
            f"{describe(plan, checkpoints.directory_key)}: {count} checkpoints of {_gb(size)} GB need {_gb(need)} GB,"
            f" and {_gb(found.free)} GB are free in {found.base}."
        )
        if size > found.free:
            fix = f"another remote_job_dir or {checkpoints.directory_key}"
            yield Finding("error", "disk-space", message, fix)
        elif need > found.free:
            keep = max(1, int(found.free / size) - 2)
            yield Finding("warning", "disk-space", message, f"{override(plan, keep_key, keep)}, or make room")
    files = count * (_FILES_A_RANK * plan.world_size + _FILES)
    if found.inodes is not None and files > found.inodes:
        message = f"{count} checkpoints need about {files:,} files; {found.base} has {found.inodes:,} inodes left."
        yield Finding("warning", "disk-inodes", message, f"{override(plan, keep_key, 3)}, or make room")


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top.rstrip('/')}/")


def _gb(size: float) -> str:
    return f"{size / GB:,.1f}" if size < 100 * GB else f"{size / GB:,.0f}"


CHECKS = (many, here)
