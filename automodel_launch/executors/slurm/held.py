"""A job that was submitted with --hold, to wait for the end of others, is let go."""

from __future__ import annotations

import shlex

from automodel_launch.errors import ClusterError
from automodel_launch.jobs.records import Record
from automodel_launch.remote import slurm_query
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import PLAIN

# By its script, not by its number: the job may have been submitted by a launcher that could not write that down.
_RELEASE = f"""
listed=$(timeout 30 squeue -h -u {{owners}} -t PENDING -o '%i|{slurm_query.MARKS}') || exit
for id in $(printf '%s\\n' "$listed" | ours); do scontrol release "$id" || exit; done
"""


def let_go(shell: Shell, record: Record) -> None:
    """Release what of the job waits in the queue; nothing where nothing does.

    Raises:
        ClusterError: Slurm refuses, or does not answer.
    """
    owners = slurm_query.owners(shlex.quote(record.job_dir))
    done = shell.run(f"{PLAIN}{slurm_query.ours(record.job_dir)}{_RELEASE.format(owners=owners)}", timeout=60)
    if done.code:
        raise ClusterError(f"{shell.place}: {record.job_id} cannot be released: {' '.join(done.err.split())}")
