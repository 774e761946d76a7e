"""Directories that the training writes beside its job: do all nodes see the same."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

# Each node has its own (hier(7), systemd's file-hierarchy(7)).
_OF_A_NODE = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def shared(plan: Plan) -> Iterator[Finding]:
    """One rank writes an index, and each rank its part of a checkpoint: all nodes must see one directory."""
    if plan.nodes == 1:
        return
    seen = plan.mounts
    for reference in backends.of(plan.recipe).references(plan.config):
        if reference.kind != "output":
            continue
        place = mounts_.outside(reference.value, seen) if seen else reference.value
        here = next((top for top in _OF_A_NODE if place and _below(place, top)), None)
        if here and not _below(plan.job_root, here):
            message = f"{describe(plan, reference.key)}: {here} is a directory of one node, and {plan.nodes} nodes"
            fix = f"{reference.key} below {plan.run_dir}"
            yield Finding("warning", "not-shared", f"{message} need the same.", fix)


def _below(path: str, top: str) -> bool:
    return posixpath.commonpath((path, top)) == top


CHECKS = (shared,)
