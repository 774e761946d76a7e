"""Finding a job that was handed over with others, where its launcher did not live to say it (see together.py)."""

from __future__ import annotations

import re
import shlex

from automodel_launch import contract
from automodel_launch.errors import ClusterError, StillSubmitting
from automodel_launch.executors import underway
from automodel_launch.executors.slurm import submission
from automodel_launch.remote import slurm_query
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import PLAIN

JOBS, SCRIPT, IDS = "jobs", contract.SCRIPT, "ids"


def find(shell: Shell, directory: str, job_dir: str) -> str | None:
    """ARRAY_TASK of a job in a submission whose launcher did not live to say it; None where there is none.

    By sbatch's own answer, else by the log of a task that has begun, else by the script in Slurm's queue.

    Raises:
        StillSubmitting: sbatch is still at it.
        ClusterError: Slurm does not answer.
    """
    place, job = shlex.quote(directory), shlex.quote(job_dir)
    owners = slurm_query.owners(place)
    look = f"""
line=$(grep -nxF -- {job} {place}/{JOBS} 2>/dev/null) && echo "line ${{line%%:*}}" || exit 0
read -r id 2>/dev/null < {place}/{IDS} && echo "id ${{id%%;*}}" && exit
ls {job}/{contract.LOGS} 2>/dev/null | sed -n 's/^sbatch_.*[.][0-9]*_\\([0-9]*\\)_[0-9]*[.]out$/id \\1/p'
listed=$(timeout 30 squeue -h -u {owners} -t all -o '%F|{slurm_query.MARKS}'); code=$?
printf '%s\\n' "$listed" | ours | sed 's/^/id /'
exit $code
"""
    done = shell.run(f"{underway.asking(directory)}{PLAIN}{slurm_query.ours(directory)}{look}")
    line = re.search(r"^line (\d+)$", done.out, re.MULTILINE)
    found = re.search(r"^id (\d+)$", done.out, re.MULTILINE)
    if found and line:
        return f"{found[1]}_{int(line[1]) - 1}"
    if underway.MARK in done.out.split():
        raise StillSubmitting(f"{shell.place}: sbatch of {directory} is still at it.", "ask again in a moment")
    if done.code:
        raise ClusterError(f"{shell.place}: Slurm does not answer: {' '.join(done.err.split())}")
    return None


def find_among(shell: Shell, directory: str, job_id: str, job_dir: str) -> str | None:
    """The Slurm id of a job of its own that is handed over behind others; None where it was not.

    Raises:
        StillSubmitting: it is not there yet, and what hands them over is still at it.
        ClusterError: Slurm does not answer.
    """
    at_it = underway.MARK in shell.run(underway.asking(directory)).out.split()  # before the look: it may end meanwhile
    found = submission.find(shell, job_id, job_dir)
    if found is None and at_it:
        raise StillSubmitting(f"{shell.place}: the jobs of {directory} are being submitted.", "ask again in a moment")
    return found
