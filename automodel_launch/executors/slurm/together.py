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

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, LaunchError, ProfileError, SubmissionUnknown
from automodel_launch.executors import Handed, Order, underway
from automodel_launch.executors.slurm import advice, array_task, array_waiting, chains, script, submission
from automodel_launch.executors.slurm.array_task import IDS, JOBS, SCRIPT
from automodel_launch.executors.slurm.executor import EXECUTOR
from automodel_launch.plan.finding import Finding
from automodel_launch.remote import slurm_site
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import CLEAN, PLAIN

if TYPE_CHECKING:
    from automodel_launch.jobs.records import Record, Status
    from automodel_launch.plan.plan import Plan

_TEST = f"{PLAIN}sbatch --test-only"
_EACH_S = 1.0  # more time for each sbatch of its own
_OWN = re.compile(r"#SBATCH --(job-name|output|error|chdir|dependency|open-mode)(=|$)")
_MERGED = re.compile(r"#SBATCH --dependency=(.*)")
_TASK = """
# Task N is line N + 1 of the list: a job's directory, whose script is what its own plan shows.
job=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {directory}/jobs) && cd "$job" || exit 2
{stop}log=$job/logs/sbatch_${{job##*/}}_${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID.out
exec bash "$job/script" >> "$log" 2>&1
"""
_STOP = f"""\
# No job of the list begins after the failures of {{most}}: its script finds the file, and tells those that wait for it.
# Where there is no room even for the name of a file, it ends here.
failed=0
while read -r other; do
  ! grep -qs '"state": "{contract.FAILED}"' "$other/{contract.EXIT}" || failed=$((failed + 1))
done < {{directory}}/{JOBS}
if [ "$failed" -ge {{most}} ]; then
  rm -f "$job/{contract.SECRETS}"
  stop=$job/{contract.STOP}
  if ! {{{{ echo "stopped after $failed failures" > "$stop"; }}}} 2> /dev/null && [ ! -e "$stop" ]; then
    echo "$job: not begun, after $failed failures; $stop cannot be written" >&2
    exit {contract.TERMINATED}
  fi
fi
"""
_LINKS = f"""sed 's,$,/{contract.LOGS},' {JOBS} | xargs mkdir -p && \
while read -r job; do ln -sfn "$PWD"/{contract.CODE} "$job"/ || exit; done < {JOBS}"""


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
        """What finds a job whose submission was cut short."""
        return {"array" if is_array(plans) else "together": order.directory}

    def waits_for_runs(self, plans: Sequence[Plan], order: Order) -> bool:
        """Slurm does not know the end of a chain."""
        return order.at_most is not None and _is_chained(plans)

    def findings(self, plans: Sequence[Plan], order: Order) -> Iterator[Finding]:
        """Of an array: `sbatch --test-only` of its script. Where Slurm does not answer, the jobs' own checks say so."""
        if not is_array(plans):
            return
        shell = EXECUTOR.shell(plans[0].profile)
        try:
            done = shell.run(_TEST, self.script(plans, order).encode("utf-8", "surrogateescape"))
        except ClusterError:
            return
        said = slurm_site.message(done.err)
        if done.code and not slurm_site.unanswered(done.code, done.err) and not slurm_site.lacks_nodes(done.err):
            message = f"{shell.place}: sbatch refuses an array of {len(plans)} tasks: {said}"
            yield Finding("error", "sbatch-refuses", message, _fix(said, plans))

    def submit(self, plans: Sequence[Plan], order: Order) -> Handed:
        """A lost answer is looked up before anything is repeated."""
        _refuse_other_scripts(plans)
        shell = EXECUTOR.shell(plans[0].profile)
        command = underway.holding(order.directory) + self.submit_command(plans, order)
        seconds = submission.SBATCH_S + _EACH_S * len(plans)
        try:
            done = shell.run(f"{command}; code=$?; cat {IDS}; exit $code", timeout=seconds)
        except ClusterError as error:  # the connection broke, or sbatch hung: it may have submitted
            return _looked_up(shell, plans, order, error.message)
        said = " ".join(done.err.split())
        handles, cluster = _handles(done.out, plans, order)
        if handles[0] and cluster:
            slurm_id = handles[0]["slurm_id"].partition("_")[0]
            submission.refuse_elsewhere(shell, *_first(plans, order), slurm_id, cluster)
        if all(handles):
            return Handed(handles)
        if submission.is_lost(done):
            return _looked_up(shell, plans, order, said, handles)
        taken = sum(map(bool, handles))
        only = f"; {taken} of {len(plans)} jobs were submitted before" if taken else ""
        return Handed(
            handles, ClusterError(f"{shell.place}: sbatch refused {order.name}: {said}{only}", _fix(said, plans))
        )

    def waiting(self, records: Sequence[Record]) -> dict[str, Status]:
        """One question for each way in which the clusters are reached."""
        found: dict[str, Status] = {}
        ways = {json.dumps([record.handle.get(key) for key in EXECUTOR.way]) for record in records}
        for way in ways:
            same = [r for r in records if json.dumps([r.handle.get(key) for key in EXECUTOR.way]) == way]
            with suppress(LaunchError):  # of an odd record, whose own look says what is wrong with it
                found |= array_waiting.look(EXECUTOR.shell_of(same[0]), same)
        return found


def _looked_up(
    shell: Shell, plans: Sequence[Plan], order: Order, said: str, known: Sequence[dict[str, Any] | None] = ()
) -> Handed:
    """The jobs of a submission whose answer was lost. An array is there, or is not; of other jobs each may be."""
    nothing = (None,) * len(plans)
    if not is_array(plans):
        fix = f"python launch.py status {order.name} asks again; then the same command submits what is missing"
        message = f"{shell.place}: how many jobs of {order.name} were submitted is not known: {said}"
        return Handed(tuple(known) or nothing, SubmissionUnknown(message, fix))
    try:
        job_dir = plans[0].job_dir
        task = submission.looked_up(shell, order.name, lambda: array_task.find(shell, order.directory, job_dir), said)
    except ClusterError as error:
        return Handed(nothing, error)
    return Handed(_tasks(task.partition("_")[0], len(plans)))


def _refuse_other_scripts(plans: Sequence[Plan]) -> None:
    """As for a job by itself, NeMo-Run makes what the plans show once more; points of one text need that once.

    Raises:
        ClusterError: a byte differs.
    """
    texts = {plan.script.replace(plan.job_dir, "").replace(plan.job_id, ""): plan for plan in plans}
    for plan in texts.values():
        if script.by_nemo_run(plan) != plan.script:
            raise ClusterError(f"NeMo-Run made another script than {plan.job_id}'s plan shows; nothing was submitted.")


def _first(plans: Sequence[Plan], order: Order) -> tuple[str, str]:
    """Name and directory with which Slurm knows the array, or the first of several jobs."""
    return (_called(order), order.directory) if is_array(plans) else (plans[0].job_id, plans[0].job_dir)


def _called(order: Order) -> str:
    return posixpath.basename(order.directory)


def is_array(plans: Sequence[Plan]) -> bool:
    """Whether one line for sbatch does for all, and none is held: who lets a job go knows it by its own script."""
    alone = _is_chained(plans) or any(plan.after or plan.profile.spares for plan in plans)
    return not alone and len({tuple(_directives(plan)) for plan in plans}) == 1


def _is_chained(plans: Sequence[Plan]) -> bool:
    return any(chains.limits(plan.profile) is not None for plan in plans)


def _directives(plan: Plan) -> list[str]:
    """The lines for sbatch that do not tell whose they are, but for a dependency."""
    return [line for line in _sbatch(plan) if not _OWN.match(line)] + _dependency(plan)


def _sbatch(plan: Plan) -> list[str]:
    return [line for line in plan.script.splitlines() if line.startswith("#SBATCH ")]


def _dependency(plan: Plan) -> list[str]:
    return [match[1] for line in _sbatch(plan) if (match := _MERGED.fullmatch(line))]


def _array(plans: Sequence[Plan], order: Order) -> str:
    free = None if order.at_most is None else order.at_most - len(order.after)
    full = free is not None and free < 1  # so they wait for the end of those, and have all places then
    limit = order.at_most if full else free
    throttle = "" if limit is None or limit >= len(plans) else f"%{limit}"
    before = dict.fromkeys(slurm_id.partition("_")[0] for slurm_id in order.after)
    wait = [f"afterany:{':'.join(before)}"] if full else []
    dependency = ",".join([*_dependency(plans[0]), *wait])
    own = {
        "array": f"0-{len(plans) - 1}{throttle}",
        "job-name": _called(order),
        "chdir": order.directory,
        "output": f"{order.directory}/array_%A_%a.out",
        "open-mode": "append",
        **({"dependency": dependency} if dependency else {}),
    }
    stop = _STOP.format(most=order.stop_after, directory=order.directory) if order.stop_after else ""
    lines = [line for line in _sbatch(plans[0]) if not _OWN.match(line)]
    lines += [f"#SBATCH --{key}={value}" for key, value in own.items()]
    return "\n".join(["#!/bin/bash", *lines]) + "\n" + _TASK.format(directory=order.directory, stop=stop)


def _jobs(plans: Sequence[Plan], order: Order) -> str:
    most = order.at_most
    if order.stop_after is not None:
        raise ProfileError(
            "--stop-after-failures needs one Slurm job array. These points are separate jobs: they have a chain"
            " (`chain`, `until`, `max_gpu_hours`) or `spares`, wait for another job, or differ in their options of"
            " sbatch.",
            "leave out --stop-after-failures, or the chain and spares; or launch the sweep when that job has completed",
        )
    given = sorted({found for plan in plans for found in _dependency(plan)})
    more = f",{','.join(given)}" if given else ""
    until = f'--dependency=afterany:"${{ids[-{most}]}}{more}"'
    if _is_chained(plans):  # whose end Slurm does not know: until somebody who does lets it go
        until = "--hold"
    wait = "" if most is None else f"[ ${{#ids[@]}} -lt {most} ] || after=({until})"
    hold = "--hold " if plans[0].after else ""  # until the runs that it waits for have completed
    return f"""#!/bin/bash
# A job for each line of the list{"" if most is None else f", each after the end of the {most}. one before it"}.
ids=({" ".join(order.after)})
while read -r job; do
  after=()
  {wait or ":"}
  id=$(sbatch --parsable {hold}"${{after[@]}}" "$job"/{SCRIPT}) || exit
  ids+=("${{id%%;*}}")
  echo "$id $job"
done < {order.directory}/{JOBS}
"""


def _handles(out: str, plans: Sequence[Plan], order: Order) -> tuple[tuple[dict[str, Any] | None, ...], str]:
    """Of each job what sbatch has answered, and the cluster where it names one."""
    if is_array(plans):
        match = re.fullmatch(r"(\d+)(?:;(\S+))?", out.strip())
        return (_tasks(match[1], len(plans)), match[2] or "") if match else ((None,) * len(plans), "")
    lines = [line.partition(" ") for line in out.splitlines()]
    ids = {directory: answer.partition(";") for answer, _, directory in lines if answer[:1].isdigit()}
    handles = tuple({"slurm_id": ids[plan.job_dir][0]} if plan.job_dir in ids else None for plan in plans)
    return handles, next((cluster for _, _, cluster in ids.values() if cluster), "")


def _tasks(array: str, count: int) -> tuple[dict[str, Any], ...]:
    return tuple({"slurm_id": f"{array}_{number}"} for number in range(count))


def _fix(said: str, plans: Sequence[Plan]) -> str:
    if "Invalid job array specification" in said:
        return f"this cluster's MaxArraySize does not allow {len(plans)} tasks: sweep fewer values at once"
    return advice.fix(said, plans[0])


TOGETHER = SlurmTogether()
