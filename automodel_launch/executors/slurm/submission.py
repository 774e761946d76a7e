"""Handing a script to sbatch, and finding the job again where its answer was lost."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.errors import ClusterError, SubmissionUnknown
from automodel_launch.executors.slurm import advice
from automodel_launch.remote.shell import Shell

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

SBATCH_S = 120.0  # a busy slurmctld makes sbatch wait
LOOKUPS, LOOKUP_S = 20, 2.0  # of a submission whose answer was lost
# Held until JOB_DIR/chain names it, so that it cannot begin before that, and JOB_DIR/resume, without which it would end
# at once where the job is over. Whether Slurm may requeue it stands in the script; one that an earlier version has
# submitted says it in agent.json alone.
AGAIN = f"""{{ grep -qE '^#SBATCH --(no-)?requeue' {contract.SCRIPT} && how= ||
  {{ grep -q '"chain": {{' {contract.AGENT} && how=--no-requeue || how=--requeue; }}; }} &&
new=$(sbatch $how --hold --parsable ./{contract.SCRIPT}) && new=${{new%%;*}} && {{
  if read -r now _ number _ < {contract.CHAIN}; then
    echo "$now $new $number" > chain.new && mv chain.new {contract.CHAIN}
  fi
  echo "$new" > resume.new && mv resume.new {contract.RESUME} && scontrol release "$new" && echo "$new"
}}
"""
# sbatch could not hand the script over at all: nothing was submitted, however long it has tried.
_NEVER_SENT = ("(connect failure)", "Unable to resolve", "Could not establish a configuration source")
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
    if done.code and any(words in said for words in _NEVER_SENT):
        fix = "nothing was submitted; launch it again when `scontrol ping` says that slurmctld is up"
        raise ClusterError(f"{shell.place}: slurmctld cannot be reached: {said}", fix)
    if done.code == 0 or any(words in said for words in _LOST_ANSWER):
        return _submitted(shell, plan, said)
    raise ClusterError(f"{shell.place}: sbatch refused {plan.job_id}: {said}", advice.fix(said, plan))


def find(shell: Shell, job_id: str, job_dir: str) -> str | None:
    """The Slurm id of the job with our comment, also where it has ended; None where there is none.

    slurmctld forgets a job some minutes after its end, and sacct keeps comments on few clusters: a job that has begun
    has left its id beside its directory.

    Raises:
        ClusterError: Slurm does not answer, and the job has left nothing.
    """
    done = shell.run(_FIND.format(name=shlex.quote(job_id), comment=shlex.quote(job_dir), chain=contract.CHAIN))
    found = [line for line in done.out.split() if line.isdigit()]
    if found:
        return found[0]
    if done.code:
        raise ClusterError(f"{shell.place}: Slurm does not answer: {' '.join(done.err.split())}")
    return None


_FIND = """\
listed=$(timeout 30 squeue -h -t all --name={name} -o '%i|%k'); code=$?
printf '%s\\n' "$listed" | while IFS= read -r line; do
  [ "${{line#*|}}" != {comment} ] || echo "${{line%%|*}}"
done
read -r first _ 2>/dev/null < {comment}/{chain} && echo "$first"
ls {comment}/logs 2>/dev/null | sed -n 's/^sbatch_.*_\\([0-9][0-9]*\\)[.]out$/\\1/p'
exit $code
"""


def _submitted(shell: Shell, plan: Plan, said: str) -> str:
    """Look for the job a while: Slurm may take it in after it has told us of a time-out."""
    absent = 0
    for _ in range(LOOKUPS):
        try:
            found = find(shell, plan.job_id, plan.job_dir)
        except ClusterError:
            absent = 0
        else:
            if found is not None:
                return found
            absent += 1
        if absent >= 3:
            raise ClusterError(f"{shell.place}: sbatch did not submit {plan.job_id}: {said}", "launch it again")
        time.sleep(LOOKUP_S)
    raise SubmissionUnknown(
        f"{shell.place}: whether {plan.job_id} was submitted is not known, and Slurm does not answer: {said}",
        f"python launch.py status {plan.job_id} asks again, before it is launched again",
    )
