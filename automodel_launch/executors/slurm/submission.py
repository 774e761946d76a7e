"""Handing a script to sbatch, and finding the job again where its answer was lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from automodel_launch.errors import ClusterError, SubmissionUnknown
from automodel_launch.executors.slurm import advice
from automodel_launch.remote.shell import Shell

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

SBATCH_S = 120.0  # a busy slurmctld makes sbatch wait
LOOKUPS, LOOKUP_S = 20, 2.0  # of a submission whose answer was lost
# Held until JOB_DIR/chain names it, so that it cannot begin before that. Whether Slurm may requeue it stands in the
# script; one that an earlier version has submitted says it in agent.json alone.
AGAIN = """{ grep -qE '^#SBATCH --(no-)?requeue' script && how= ||
  { grep -q '"chain": {' agent.json && how=--no-requeue || how=--requeue; }; } &&
new=$(sbatch $how --hold --parsable ./script) && new=${new%%;*} && {
  if read -r now _ number < chain; then echo "$now $new $number" > chain.new && mv chain.new chain; fi
  scontrol release "$new" && echo "$new"
}
"""
_LOST_ANSWER = ("Socket timed out", "Unable to contact slurm controller", "Zero Bytes were transmitted")


def sbatch(shell: Shell, plan: Plan) -> str:
    """The Slurm id of the submitted script. A lost answer is looked up by the comment before anything is repeated."""
    try:
        done = shell.run(plan.submit, timeout=SBATCH_S)
    except ClusterError as error:  # the connection broke, or sbatch hung: it may have submitted
        return _submitted(shell, plan, error.message)
    slurm_id = done.out.strip().partition(";")[0]
    if done.code == 0 and slurm_id.isdigit():
        return slurm_id
    said = " ".join(done.err.split())
    if done.code == 0 or any(words in said for words in _LOST_ANSWER):
        return _submitted(shell, plan, said)
    raise ClusterError(f"{shell.place}: sbatch refused {plan.job_id}: {said}", advice.fix(said, plan))


def _submitted(shell: Shell, plan: Plan, said: str) -> str:
    """The job with our comment, also where it has ended; Slurm may take it in after it has told us of a time-out."""
    answered = 0
    for _ in range(LOOKUPS):
        try:
            listed = shell.run(f"squeue -h -t all --name={plan.job_id} -o '%i|%k'")
        except ClusterError:
            listed = None
        for line in listed.out.splitlines() if listed else ():
            if line.partition("|")[2] == plan.job_dir:
                return line.partition("|")[0]
        answered = answered + 1 if listed and listed.code == 0 else 0
        if answered >= 3:
            raise ClusterError(f"{shell.place}: sbatch did not submit {plan.job_id}: {said}", "launch it again")
        time.sleep(LOOKUP_S)
    raise SubmissionUnknown(
        f"{shell.place}: whether {plan.job_id} was submitted is not known, and Slurm does not answer: {said}",
        f"look with `squeue --name={plan.job_id}` before it is launched again",
    )
