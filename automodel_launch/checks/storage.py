"""Checkpoints on disk: how many, how large, and whether there is room for them.

A checkpoint holds the weights and the optimizer's states in the type in which they are stored (nemo_automodel,
components/checkpoint); the last one also an export for transformers, in the published type.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from automodel_launch import executors
from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel.keys import CHECKPOINT_DIR, CKPT_EVERY, KEEP_CHECKPOINTS
from automodel_launch.backends.automodel.model import parameters as model_parameters
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.backends.automodel.model.memory import BYTES, moments
from automodel_launch.config import dotted
from automodel_launch.executors.containers import mounts
from automodel_launch.jobs import rundir
from automodel_launch.plan.describe import said, setting
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import disk
from automodel_launch.remote.disk import Disk
from automodel_launch.remote.probes import Answers

MANY = 100
GB = 10**9
_FILES_A_RANK = 4  # model, optimizer, dataloader, random states
_FILES = 30  # index, config, tokenizer, directories


def number(plan: Plan) -> int | None:
    """Checkpoints that the run will still add to the disk: all, or the recent ones with LATEST's and LOWEST_VAL's, and
    the one that is being saved (checkpoint.max_recent_checkpoints).
    """
    steps, folder = automodel.steps(plan.config), automodel.checkpoint_dir(plan.config)
    if steps is None or not steps.max_steps or folder is None:
        return None
    done = (rundir.last_step(folder) if plan.visible else None) or 0
    left = max(0, steps.max_steps - done)
    written = -(-left // steps.ckpt_every) if steps.ckpt_every and steps.ckpt_every > 0 else 2
    kept = automodel.kept_checkpoints(plan.config)
    return written if kept is None else min(written, kept + 2)


def many(plan: Plan) -> Iterator[Finding]:
    """More checkpoints than anybody looks at."""
    count = number(plan)
    if count is not None and count > MANY:
        message = f"{said(plan, CKPT_EVERY)}: {count} checkpoints, and {KEEP_CHECKPOINTS} does not limit them."
        yield Finding("warning", "many-checkpoints", message, setting(plan, KEEP_CHECKPOINTS, 3))


def here(plan: Plan) -> Iterator[Finding]:
    """Room on this machine, for jobs that run on it."""
    folder = automodel.checkpoint_dir(plan.config)
    if plan.here and folder and os.path.isabs(folder) and not dotted.left_to_the_job(folder):  # noqa: PTH117
        yield from room(plan, disk.here(folder))


def asked(plan: Plan) -> dict[str, str]:
    """For the cluster, where checkpoints do not lie below the job root, about which it is asked anyway."""
    place = _elsewhere(plan)
    return {"checkpoints": disk.question(place)} if place else {}


def answered(plan: Plan, answers: Answers) -> Iterator[Finding]:
    """Room there."""
    place = _elsewhere(plan)
    if place:
        found = disk.read(place, answers["checkpoints"])
        yield from room(plan, replace(found, root=automodel.checkpoint_dir(plan.config) or ""))


def _elsewhere(plan: Plan) -> str | None:
    """Where the checkpoints' directory lies, outside a container, if it is not below the job root."""
    folder = automodel.checkpoint_dir(plan.config)
    if folder is None or not folder.startswith("/") or dotted.left_to_the_job(folder):
        return None
    seen = executors.get(plan.executor).mounts(plan)
    place = mounts.outside(folder, seen) if seen else folder
    below = f"{folder}/".startswith(f"{plan.job_root}/")
    return None if below or place is None or mounts.has_variable(place) else place


def room(plan: Plan, found: Disk) -> Iterator[Finding]:
    """Room where `found` was looked at or asked, and said only where it is that of the checkpoints."""
    folder, count, size = automodel.checkpoint_dir(plan.config) or "", number(plan), checkpoint_bytes(plan)
    if count is None or not (folder == found.root or folder.startswith(f"{found.root.rstrip('/')}/")):
        return
    if size is not None and found.free is not None:
        need = count * size[0] + (size[1] if automodel.consolidates(plan.config) else 0)
        message = (
            f"{said(plan, CHECKPOINT_DIR)}: {count} checkpoints of {_gb(size[0])} GB need {_gb(need)} GB,"
            f" and {_gb(found.free)} GB are free in {found.base}."
        )
        if size[0] > found.free:
            yield Finding("error", "disk-space", message, "another remote_job_dir or checkpoint.checkpoint_dir")
        elif need > found.free:
            keep = max(1, int(found.free / size[0]) - 2)
            yield Finding("warning", "disk-space", message, f"{setting(plan, KEEP_CHECKPOINTS, keep)}, or make room")
    files = count * (_FILES_A_RANK * plan.world_size + _FILES)
    if found.inodes is not None and files > found.inodes:
        message = f"{count} checkpoints need about {files:,} files; {found.base} has {found.inodes:,} inodes left."
        yield Finding("warning", "disk-inodes", message, f"{setting(plan, KEEP_CHECKPOINTS, 3)}, or make room")


def checkpoint_bytes(plan: Plan) -> tuple[int, int] | None:
    """(bytes of a checkpoint, bytes of the export); None where the model is not known here."""
    shape = model_shape.read(plan.config, plan.visible)
    parameters = model_parameters.count(shape) if shape else None
    if shape is None or parameters is None:
        return None
    each = BYTES.get(automodel.precision(plan.config) or shape.stored_as or "bfloat16", 2)
    states = moments(automodel.optimizer(plan.config))
    return parameters.total * each * (1 + states), parameters.total * each


def _gb(size: float) -> str:
    return f"{size / GB:,.1f}" if size < 100 * GB else f"{size / GB:,.0f}"


CHECKS = (many, here)
