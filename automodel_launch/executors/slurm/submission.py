"""Handing a script to sbatch, and finding the job again where its answer was lost."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.errors import ClusterError, StillSubmitting, SubmissionUnknown
from automodel_launch.executors import underway
from automodel_launch.executors.slurm import advice
from automodel_launch.remote import slurm_query
from automodel_launch.remote.shell import Done, Shell
from automodel_launch.remote.slurm_environment import PLAIN
from automodel_launch.remote.slurm_query import Task

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

SBATCH_S = 120.0  # a busy slurmctld makes sbatch wait
LEAVE_S = 60  # twice Slurm's default KillWait
LOOKUPS, LOOKUP_S = 20, 2.0  # of a submission whose answer was lost
# A job that is submitted again is held until JOB_DIR/chain names it, so that it cannot begin before that, and
# JOB_DIR/resume, without which it would end at once where the job is over. Whether Slurm may requeue it stands in the
# script; one that an earlier version has submitted says it in agent.json alone.
_LET_GO = f"""{{
  if read -r now _ number _ 2>/dev/null < {contract.CHAIN}; then
    echo "$now $new $number" > chain.new && mv chain.new {contract.CHAIN}
  fi &&
    echo "$new" > resume.new && mv resume.new {contract.RESUME} && scontrol release "$new" &&
    echo "$new" || {{ scancel "$new"; exit 1; }}
}}
"""
AGAIN = f"""{{ grep -qE '^#SBATCH --(no-)?requeue' {contract.SCRIPT} && how= ||
  {{ grep -q '"chain": {{' {contract.AGENT} && how=--no-requeue || how=--requeue; }}; }} &&
new=$(sbatch $how --hold --parsable "$job"/{contract.SCRIPT}) && {{
  case $new in *';'*) # of a cluster that has this name: is it this one?
    [ -n "$(squeue -h -j "${{new%%;*}}" -o '%i|{slurm_query.MARKS}' | ours)" ] || {{
      scancel -M "${{new#*;}}" "${{new%%;*}}"
      echo "it went to another cluster, as $new, and was cancelled there" >&2; exit 1
    }} ;;
  esac
  new=${{new%%;*}}
}} && {_LET_GO}"""
# sbatch could not hand the script over at all: nothing was submitted, however long it has tried.
_NEVER_SENT = ("(connect failure)", "Unable to resolve", "Could not establish a configuration source")
_QUIET_MIN = 10  # after that long neither Slurm nor an attempt that waits goes on with a job that has ended
_LEFT, _IDENTITY = "secrets-left", "stat -c '%i %z'"
_LOST_ANSWER = ("Socket timed out", "Unable to contact slurm controller", "Zero Bytes were transmitted")


def sbatch(shell: Shell, plan: Plan) -> str:
    """The Slurm id of the submitted script. A lost answer is looked up by the script before anything is repeated."""
    return _submit(shell, plan.submit, plan.job_id, plan.job_dir, plan=plan)


def again(shell: Shell, job_id: str, job_dir: str, after: int, secrets: bytes | None) -> str:
    """The same for a job whose script is submitted once more, after the Slurm job `after`.

    Its secrets come with the command, through standard input: who looks at the job sees that it is at it (underway.py),
    and does not take them for what the former attempt has left.
    """
    put = "" if secrets is None else f"rm -f {contract.SECRETS} && (umask 077; cat > {contract.SECRETS}) && "
    command = f'{PLAIN}{slurm_query.ours(job_dir)}job={shlex.quote(job_dir)}; cd "$job" && {put}{AGAIN}'
    return _submit(shell, command, job_id, job_dir, after, data=secrets or b"")


def what_is_left(job_dir: str) -> str:
    """A line of bash, before those that ask for the job's state: whether its secrets are there, for `tidy`.

    Those that somebody is bringing now are of a job that Slurm may have by the time it is asked, or may not.
    """
    file = shlex.quote(f"{job_dir}/{contract.SECRETS}")
    at_it = f"$({underway.asking(job_dir)})"
    return f'[ ! -e {file} ] || [ -n "{at_it}" ] || echo {_LEFT} $({_IDENTITY} {file})\n'


def tidy(job_dir: str, out: str, at_once: bool) -> str | None:
    """Bash that removes the secrets that were there then, unless somebody is bringing others, or has.

    Not `at_once`: only where nothing has happened in the job's directory for a while.
    """
    left = next((line for line in out.splitlines() if line.startswith(f"{_LEFT} ")), None)
    if left is None:
        return None
    file, same = shlex.quote(f"{job_dir}/{contract.SECRETS}"), shlex.quote(left.removeprefix(f"{_LEFT} "))
    script = f'{underway.asking(job_dir)}[ "$({_IDENTITY} {file})" != {same} ] || echo same'
    quiet = (
        "" if at_once else f'[ -n "$(find {shlex.quote(job_dir)} -maxdepth 2 -mmin -{_QUIET_MIN} | head -n 1)" ] || '
    )
    return f'{quiet}[ "$({script})" != same ] || rm -f {file}'


def wait_until_left(shell: Shell, job_id: str, job_dir: str, task: Task | None = None) -> None:
    """Until Slurm is done with what the job had running: its last batch script may still be tidying up, and would take
    the next attempt's secrets and those that wait for it along. An epilog may go on after that.

    Raises:
        ClusterError: Slurm does not answer, or a Slurm job of it runs on.
    """
    script = f"{PLAIN}{slurm_query.ours(job_dir, task)}{_LEAVE.format(seconds=LEAVE_S, job=shlex.quote(job_dir))}"
    done = shell.run(script, timeout=LEAVE_S + 60.0)
    if done.code == _STILL_THERE:
        slurm_id, _, state = done.out.strip().partition(" ")
        fix = f"`scancel {slurm_id}`, then resume it"
        raise ClusterError(f"{shell.place}: {job_id} is over, and its Slurm job {slurm_id} is still {state}.", fix)
    if done.code:
        raise _silent(shell, done)


def _submit(
    shell: Shell,
    command: str,
    job_id: str,
    job_dir: str,
    after: int | None = None,
    plan: Plan | None = None,
    data: bytes = b"",
) -> str:
    def submitted(said: str) -> str:
        return looked_up(shell, job_id, lambda: find(shell, job_id, job_dir, after), said)

    try:
        done = shell.run(underway.holding(job_dir) + command, data, timeout=SBATCH_S)
    except ClusterError as error:  # the connection broke, or sbatch hung: it may have submitted
        return submitted(error.message)
    slurm_id, _, cluster = done.out.strip().partition(";")
    if done.code == 0 and slurm_id.isdigit():
        if cluster:
            refuse_elsewhere(shell, job_id, job_dir, slurm_id, cluster)
        return slurm_id
    said = " ".join(done.err.split())
    if done.code and any(words in said for words in _NEVER_SENT):
        fix = "nothing was submitted; launch it again when `scontrol ping` says that slurmctld is up"
        raise ClusterError(f"{shell.place}: slurmctld cannot be reached: {said}", fix)
    if done.code == 0 or any(words in said for words in _LOST_ANSWER):
        return submitted(said)
    raise ClusterError(f"{shell.place}: sbatch refused {job_id}: {said}", advice.fix(said, plan))


def refuse_elsewhere(shell: Shell, job_id: str, job_dir: str, slurm_id: str, cluster: str) -> None:
    """Where sbatch names a cluster (a site's own sbatch may choose one): it is the one whose queue is asked.

    Raises:
        ClusterError: it is another one. Nobody would find the job there, so it is cancelled.
    """
    look = f"squeue -h -j {slurm_id} -o '%i|{slurm_query.MARKS}'"
    done = shell.run(f'{PLAIN}{slurm_query.ours(job_dir)}out=$({look}) || exit; echo "$out" | ours')
    if slurm_id in done.out.split() or (done.code and "Invalid job id" not in done.err):
        return
    ended = shell.run(f"{PLAIN}scancel -M {shlex.quote(cluster)} {slurm_id}")
    became = "was cancelled there" if ended.code == 0 else f"cannot be cancelled there: {' '.join(ended.err.split())}"
    message = (
        f"{shell.place}: sbatch handed {job_id} to another cluster, {cluster}, as Slurm job {slurm_id}: it {became}."
    )
    raise ClusterError(message, "one cluster a profile: launch from a login node of that one, or host = one of them")


def find(shell: Shell, job_id: str, job_dir: str, after: int | None = None) -> str | None:
    """The Slurm id of the job with our script, also where it has ended; None where there is none.

    `after`: only one that was submitted after that Slurm job, which the job had before; where its submission was cut
    short behind sbatch, it is completed.

    Raises:
        StillSubmitting: there is none, and sbatch is still at it.
        ClusterError: Slurm does not answer, and the job has left nothing.
    """
    done = _look(shell, job_dir)
    at_it = underway.MARK in done.out.split()
    found = _ids(done.out)
    if after is not None:  # what `resume` submits is held until it is let go
        found = [] if at_it else sorted(number for number in found if number > after)
    if found and after is not None:
        _let_go(shell, job_dir, found[0])
    if found:
        return str(found[0])
    if at_it:
        raise StillSubmitting(f"{shell.place}: sbatch of {job_id} is still at it.", "ask again in a moment")
    if done.code:
        raise _silent(shell, done)
    return None


def is_lost(done: Done) -> bool:
    """Whether sbatch may have submitted something, though it did not say so."""
    said = " ".join(done.err.split())
    never = done.code and any(words in said for words in _NEVER_SENT)
    return not never and (done.code == 0 or any(words in said for words in _LOST_ANSWER))


def _silent(shell: Shell, done: Done) -> ClusterError:
    return ClusterError(f"{shell.place}: Slurm does not answer: {' '.join(done.err.split())}")


def _let_go(shell: Shell, job_dir: str, slurm_id: int) -> None:
    """What `again` does behind sbatch, for a job that is held still: nobody else would ever let it begin."""
    held = f'new={slurm_id}; [ "$(squeue -h -j "$new" -o %r 2>/dev/null)" != JobHeldUser ] ||'
    done = shell.run(f"{PLAIN}cd {shlex.quote(job_dir)} && {{ {held} {_LET_GO}}}")
    if done.code:
        raise ClusterError(f"{shell.place}: Slurm job {slurm_id} cannot be released: {' '.join(done.err.split())}")


def ids(shell: Shell, job_dir: str) -> list[int]:
    """Every Slurm id that the job is known to have had.

    Raises:
        ClusterError: Slurm does not answer.
    """
    done = _look(shell, job_dir)
    if done.code:
        raise _silent(shell, done)
    return _ids(done.out)


def _look(shell: Shell, job_dir: str) -> Done:
    """slurmctld forgets a job some minutes after its end, and sacct does not know scripts: a job that has begun has
    left its id in its directory."""
    look = f"{PLAIN}{slurm_query.ours(job_dir)}{_FIND.format(job=shlex.quote(job_dir), chain=contract.CHAIN)}"
    return shell.run(underway.asking(job_dir) + look)  # in this order: sbatch ends after Slurm has the job


def _ids(out: str) -> list[int]:
    """A task of an array counts as the array, which Slurm has numbered when it was submitted."""
    return [int(word.partition("_")[0]) for word in out.split() if word.replace("_", "", 1).isdigit()]


_OWNERS = slurm_query.owners("{job}")
_FIND = f"""\
listed=$(timeout 30 squeue -h -u {_OWNERS} -t all -o '%i|{slurm_query.MARKS}'); code=$?
printf '%s\\n' "$listed" | ours
read -r first second _ 2>/dev/null < {{job}}/{{chain}} && echo "$first" "$second"
ls {{job}}/logs 2>/dev/null | sed -n 's/^sbatch_.*[.][0-9]*_\\([0-9_]*\\)[.]out$/\\1/p'
exit $code
"""


_STILL_THERE, _ACTIVE = 75, ",".join(sorted(contract.SLURM_ACTIVE))
_LEAVE = f"""\
for second in $(seq 0 {{seconds}}); do
  listed=$(timeout 30 squeue -h -r -u {_OWNERS} -t {_ACTIVE} -o '%i %T|{slurm_query.MARKS}') || exit 1
  there=$(printf '%s\\n' "$listed" | ours | head -n 1)
  [ -n "$there" ] || exit 0
  sleep 1
done
case $there in *COMPLETING) exit 0 ;; esac # the batch script has ended by now: KillWait is over
echo "$there"
exit {_STILL_THERE}
"""


def looked_up(shell: Shell, job_id: str, look: Callable[[], str | None], said: str) -> str:
    """Look for what was submitted a while: Slurm may take it in after it has told us of a time-out (`said`).

    Raises:
        SubmissionUnknown: Slurm does not answer.
        ClusterError: it is not there.
    """
    absent = 0
    for _ in range(LOOKUPS):
        try:
            found = look()
        except ClusterError:
            absent = 0
        else:
            if found is not None:
                return found
            absent += 1
        if absent >= 3:
            raise ClusterError(f"{shell.place}: sbatch did not submit {job_id}: {said}", "launch it again")
        time.sleep(LOOKUP_S)
    raise SubmissionUnknown(
        f"{shell.place}: whether {job_id} was submitted is not known, and Slurm does not answer: {said}",
        f"python launch.py status {job_id} asks again, before it is launched again",
    )
