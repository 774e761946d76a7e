"""Directories that a job writes: can it be made where jobs are, and do all nodes see the same."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from automodel_launch import backends, executors
from automodel_launch.backends.data import probe
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_LOOK_S = 5.0  # a file system that does not answer
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


def job_root(plan: Plan) -> Iterator[Finding]:
    """Where jobs of this machine are written; a cluster's is asked for there (checks/places/slurm.py)."""
    if executors.get(plan.executor).many_nodes or not plan.visible:
        return
    found = probe.Prober([], _LOOK_S).writable(plan.job_root)
    if found.get("error"):
        message = (
            f"remote_job_dir = {plan.job_root} ({plan.source('remote_job_dir')}): {found['base']} cannot be written:"
        )
        fix = "a directory that you may write, or make; without the key it is runs/ in the checkout"
        yield Finding("error", "job-root", f"{message} {found['error']}.", fix)


def _below(path: str, top: str) -> bool:
    return posixpath.commonpath((path, top)) == top


CHECKS = (shared, job_root)
