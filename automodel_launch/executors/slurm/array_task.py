"""Finding the task of an array that is a job's, where its launcher did not live to say it (see together.py)."""

from __future__ import annotations

import re
import shlex

from automodel_launch import contract
from automodel_launch.errors import ClusterError, StillSubmitting
from automodel_launch.executors import underway
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import PLAIN

JOBS, SCRIPT, IDS = "jobs", contract.SCRIPT, "ids"


def find(shell: Shell, directory: str, job_dir: str) -> str | None:
    """ARRAY_TASK of a job in a submission whose launcher did not live to say it; None where there is none.

    Raises:
        StillSubmitting: sbatch is still at it.
        ClusterError: Slurm does not answer.
    """
    place, script = shlex.quote(directory), shlex.quote(f"{directory}/{SCRIPT}")
    look = f"""
line=$(grep -nxF -- {shlex.quote(job_dir)} {place}/{JOBS} 2>/dev/null) && echo "line ${{line%%:*}}" || exit 0
read -r id 2>/dev/null < {place}/{IDS} && echo "id ${{id%%;*}}" && exit
listed=$(timeout 30 squeue -h -t all -o '%F %o') || exit
printf '%s\\n' "$listed" | while read -r id command; do [ "$command" != {script} ] || echo "id $id"; done
"""
    done = shell.run(f"{underway.asking(directory)}{PLAIN}{look}")
    line = re.search(r"^line (\d+)$", done.out, re.MULTILINE)
    found = re.search(r"^id (\d+)$", done.out, re.MULTILINE)
    if found and line:
        return f"{found[1]}_{int(line[1]) - 1}"
    if underway.MARK in done.out.split():
        raise StillSubmitting(f"{shell.place}: sbatch of {directory} is still at it.", "ask again in a moment")
    if done.code:
        raise ClusterError(f"{shell.place}: Slurm does not answer: {' '.join(done.err.split())}")
    return None
