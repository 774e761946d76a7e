"""Many jobs in one round trip: as one Slurm array, or as jobs of which each waits for the end of an earlier one.

An array needs what all have in common, the lines for sbatch, and that none has a chain, whose later jobs would be in no
array. Its tasks do nothing but start the script that lies in a job's directory, the one that the job's own plan shows:
from there on a task is what the same job would be by itself. A task is known as ARRAY_TASK, never by the number that
Slurm gives it besides: for the last one that is the array's own, which stands for all tasks.

    DIRECTORY/code      what travels, once for all; a job's directory has a link to it
    DIRECTORY/jobs      the jobs' directories, a line each; task N is line N + 1
    DIRECTORY/script    for sbatch, or for bash where they are jobs of their own
    DIRECTORY/ids       what sbatch has answered, "ID" of the array or "ID DIRECTORY" of each job
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, ProfileError, SubmissionUnknown
from automodel_launch.executors import Order, underway
from automodel_launch.executors.slurm import advice, chains, submission
from automodel_launch.executors.slurm.array_task import IDS, JOBS, SCRIPT
from automodel_launch.executors.slurm.executor import EXECUTOR
from automodel_launch.remote.shell import Done
from automodel_launch.remote.slurm_environment import CLEAN

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

_EACH_S = 1.0  # more time for each sbatch of its own
_OWN = re.compile(r"#SBATCH --(job-name|output|error|chdir|dependency|open-mode)(=|$)")
_MERGED = re.compile(r"#SBATCH --dependency=(.*)")
_TASK = """
# Task N is line N + 1 of the list: a job's directory, whose script is what its own plan shows.
job=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {directory}/jobs) && cd "$job" || exit 2
log=$job/logs/sbatch_${{job##*/}}_${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID.out
exec bash "$job/script" >> "$log" 2>&1
"""
_LINKS = f"""while read -r job; do mkdir -p "$job"/{contract.LOGS} && ln -sfn "$PWD"/{contract.CODE} "$job"/ || exit; \
done < {JOBS}"""


class SlurmTogether:
    """What `executors.Together` asks for."""

    def script(self, plans: Sequence[Plan], order: Order) -> str:
        """One for sbatch, with `--array`; or one for bash, with an sbatch for each job."""
        return _array(plans, order) if is_array(plans) else _jobs(plans, order)

    def submit_command(self, plans: Sequence[Plan], order: Order) -> str:
        """The jobs' code lies in the directory once, and each job has a link to it."""
        hand_over = f"sbatch --parsable {SCRIPT} > {IDS}" if is_array(plans) else f"bash {SCRIPT} > {IDS}"
        return f"{CLEAN}; cd {order.directory} && {{ {_LINKS}; }} && {hand_over}"

    def files(self, plans: Sequence[Plan], order: Order) -> dict[str, str]:
        """The script, and the list of jobs."""
        return {SCRIPT: self.script(plans, order), JOBS: "".join(f"{plan.job_dir}\n" for plan in plans)}

    def address(self, plans: Sequence[Plan], order: Order) -> dict[str, Any]:
        """What finds a job whose submission was cut short; a job of its own is found by its script."""
        return {"array": order.directory} if is_array(plans) else {}

    def submit(self, plans: Sequence[Plan], order: Order) -> list[dict[str, Any]]:
        """A lost answer is looked up before anything is repeated."""
        shell = EXECUTOR.shell(plans[0].profile)
        command = underway.holding(order.directory) + self.submit_command(plans, order)
        seconds = submission.SBATCH_S + _EACH_S * len(plans)
        try:
            done = shell.run(f"{command}; code=$?; cat {IDS}; exit $code", timeout=seconds)
        except ClusterError as error:
            done = Done(1, "", error.message)
        found = _handles(done.out, plans, order)
        if len(found) == len(plans):
            return found
        said = " ".join(done.err.split())
        if found or submission.is_lost(done):
            fix = f"python launch.py status {order.name} asks again; then the same command goes on with the rest"
            message = f"{shell.place}: {len(found)} of {len(plans)} jobs of {order.name} are known to be submitted"
            raise SubmissionUnknown(f"{message}: {said}", fix)
        raise ClusterError(f"{shell.place}: sbatch refused {order.name}: {said}", _fix(said, plans))


def is_array(plans: Sequence[Plan]) -> bool:
    """Whether one line for sbatch does for all."""
    chained = any(chains.limits(plan.profile) is not None for plan in plans)
    return not chained and len({tuple(_directives(plan)) for plan in plans}) == 1


def _directives(plan: Plan) -> list[str]:
    """The lines for sbatch that do not tell whose they are, but for a dependency."""
    return [line for line in _sbatch(plan) if not _OWN.match(line)] + _dependency(plan)


def _sbatch(plan: Plan) -> list[str]:
    return [line for line in plan.script.splitlines() if line.startswith("#SBATCH ")]


def _dependency(plan: Plan) -> list[str]:
    return [match[1] for line in _sbatch(plan) if (match := _MERGED.fullmatch(line))]


def _array(plans: Sequence[Plan], order: Order) -> str:
    running = len(order.after)
    free = None if order.at_most is None else max(1, order.at_most - running)
    throttle = "" if free is None or free >= len(plans) else f"%{free}"
    wait = [f"afterany:{':'.join(order.after)}"] if order.at_most is not None and running >= order.at_most else []
    dependency = ",".join([*_dependency(plans[0]), *wait])
    own = {
        "array": f"0-{len(plans) - 1}{throttle}",
        "job-name": order.name,
        "chdir": order.directory,
        "output": f"{order.directory}/array_%A_%a.out",
        "open-mode": "append",
        **({"dependency": dependency} if dependency else {}),
    }
    lines = [line for line in _sbatch(plans[0]) if not _OWN.match(line)]
    lines += [f"#SBATCH --{key}={value}" for key, value in own.items()]
    return "\n".join(["#!/bin/bash", *lines]) + "\n" + _TASK.format(directory=order.directory)


def _jobs(plans: Sequence[Plan], order: Order) -> str:
    most = order.at_most
    if most is not None and any(chains.limits(plan.profile) is not None for plan in plans):
        raise ProfileError(
            "--at-most: the end of a chain (`chain`, `until`, `max_gpu_hours`) is not known to Slurm, so the points of"
            " a sweep cannot wait for it.",
            "leave out --at-most, or the chain",
        )
    given = sorted({found for plan in plans for found in _dependency(plan)})
    more = f",{','.join(given)}" if given else ""
    wait = (
        ""
        if most is None
        else f'[ ${{#ids[@]}} -lt {most} ] || after=(--dependency=afterany:"${{ids[-{most}]}}{more}")'
    )
    return f"""#!/bin/bash
# A job for each line of the list{"" if most is None else f", each after the end of the {most}. one before it"}.
ids=({" ".join(order.after)})
while read -r job; do
  after=()
  {wait or ":"}
  id=$(sbatch --parsable "${{after[@]}}" "$job"/{SCRIPT}) || exit
  ids+=("${{id%%;*}}")
  echo "${{id%%;*}} $job"
done < {order.directory}/{JOBS}
"""


def _handles(out: str, plans: Sequence[Plan], order: Order) -> list[dict[str, Any]]:
    if is_array(plans):
        match = re.fullmatch(r"(\d+)(;\S+)?", out.strip())
        array = match[1] if match else None
        return [{"slurm_id": f"{array}_{number}"} for number in range(len(plans) if array else 0)]
    lines = [line.partition(" ") for line in out.splitlines()]
    ids = {directory: slurm_id for slurm_id, _, directory in lines if slurm_id.isdigit()}
    return [{"slurm_id": ids[plan.job_dir]} for plan in plans if plan.job_dir in ids]


def _fix(said: str, plans: Sequence[Plan]) -> str:
    if "Invalid job array specification" in said:
        return f"this cluster takes smaller arrays (MaxArraySize) than of {len(plans)}: sweep fewer values at once"
    return advice.fix(said, plans[0])


TOGETHER = SlurmTogether()
