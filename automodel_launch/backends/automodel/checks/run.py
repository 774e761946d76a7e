"""What AutoModel restores when a run resumes."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel.checkpoints import checkpoint_dir
from automodel_launch.jobs import rundir
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def same_size(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 restores positions in the data by rank: with another number of ranks they are wrong."""
    first = rundir.world_size(plan.run_dir) if plan.visible else None
    checkpoints = checkpoint_dir(plan.config)
    if first and first != plan.world_size and checkpoints and rundir.last_step(checkpoints) is not None:
        message = f"run {plan.run_name} was started with {first} processes, and would resume with {plan.world_size}:"
        message += " AutoModel then reads other parts of the data, without a message."
        fix = f"nodes and nproc_per_node for {first} processes; or --fresh for a run of its own"
        yield Finding("warning", "other-size", message, fix)


CHECKS = (same_size,)
