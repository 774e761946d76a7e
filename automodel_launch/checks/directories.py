"""Directories that the training writes beside its job: can they be made, and do all nodes see the same."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel.data import facts as found
from automodel_launch.backends.automodel.data.facts import Found, outside
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import said, setting
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# Each node has its own (hier(7), systemd's file-hierarchy(7)).
_OF_A_NODE = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def writable(plan: Plan, seen: Found) -> Iterator[Finding]:
    """AutoModel writes checkpoints hours after the start, and the index when the model is loaded."""
    for key, path in found.directories(plan):
        facts = seen.facts("writable", path)
        if not facts.get("error"):
            continue
        message = f"{said(plan, key)}: {facts['base']} cannot be written: {facts['error']}{outside(plan, path)}."
        if key == automodel.CHECKPOINT_DIR:
            fix = f"{key}=${{run.dir}}/checkpoints, or another directory of yours"
            yield Finding("error", "checkpoint-dir", message, fix)
        else:
            fix = f"{key}=${{run.dir}}/index/{'train' if key.startswith('dataset') else 'validation'}"
            yield Finding("error", "index-dir", message, fix)


def shared(plan: Plan) -> Iterator[Finding]:
    """Only global rank 0 writes an index, and each rank its part of a checkpoint: all nodes must see one directory."""
    seen = plan.mounts
    for key, path in found.directories(plan) if plan.nodes > 1 else ():
        place = mounts_.outside(path, seen) if seen else path
        here = next((top for top in _OF_A_NODE if place and posixpath.commonpath((top, place)) == top), None)
        if here and not _below(plan.job_root, here):
            message = f"{said(plan, key)}: {here} is a directory of one node, and {plan.nodes} nodes need the same."
            yield Finding("warning", "not-shared", message, f"{key} below {plan.run_dir}")


def _below(path: str, top: str) -> bool:
    return posixpath.commonpath((path, top)) == top


def beside_the_data(plan: Plan) -> Iterator[Finding]:
    """Without index_mapping_dir the index is kept beside the data, and taken for that of other data later."""
    for key, path in automodel.index_dirs(plan.config):
        if path is None and automodel.trains(plan.recipe):
            name = "train" if key.startswith("dataset") else "validation"
            message = f"{key} is not given: the index is kept beside the data, and outlives them when they change."
            yield Finding("warning", "index-dir", message, setting(plan, key, f"${{run.dir}}/index/{name}"))
            return


CHECKS = (shared, beside_the_data)
