"""Asking Slurm about a job: squeue, then scontrol, then sacct, in one round trip.

Many clusters have no sacct, slurmctld forgets a job some minutes after its end (MinJobAge), and either may not answer
for a while. So an answer is one of three: what Slurm says, "Slurm does not know the job", or "it could not be asked".
The last never means that a job has failed.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from automodel_launch import contract
from automodel_launch.remote.slurm_environment import PLAIN

_NO_ANSWER = re.compile("Unable to contact|timed out")  # as `query` has it
_UNKNOWN_JOB = re.compile(r"invalid job id|Job \d+_\d+ not found", re.I)  # the latter: of a task of an array


@dataclass(frozen=True)
class Answer:
    """What Slurm said of a job. `state` is None where it does not know the job, `asked` False where it did not answer.

    `reason` is Slurm's own word for waiting, `start` its estimate (a time, or None), `code` the batch script's.
    `stale`: sacct alone says so while slurmctld does not answer: what still runs there may have ended. `following`: it
    is said of a job that was queued for a further attempt of a chain, and that has not begun it, while the one before
    it has ended; `dropped`: such a job was taken out of the queue.
    """

    asked: bool
    state: str | None = None
    reason: str | None = None
    start: str | None = None
    nodes: str | None = None
    code: int | None = None
    signal: int | None = None
    stale: bool = False
    following: bool = False
    dropped: bool = False


MARKS = "%o|%Z|%j|%k"
"""squeue's format of what `ours` reads, behind what it prints and a `|`."""


def owners(quoted: str) -> str:
    """A word of bash for `squeue -u`: who asks, and whose a directory is (a group's job root); a large site's queue is
    too long to ask for all of it. `quoted` is the directory, for bash."""
    return f'"$(id -u),$(stat -c %u {quoted} 2>/dev/null || id -u)"'


class Task(NamedTuple):
    """A task of an array that makes the first attempt at a job: what Slurm has of it are the array's name, script and
    directory, in which the list of the jobs lies."""

    directory: str
    number: int

    @classmethod
    def of(cls, handle: Mapping[str, Any]) -> Task | None:
        """That of a job's handle; None where it was submitted by itself."""
        directory, number = handle.get("array"), str(handle.get("slurm_id")).partition("_")[2]
        return cls(directory, int(number)) if isinstance(directory, str) and number.isdigit() else None


def ours(job_dir: str, task: Task | None = None) -> str:
    """Bash lines that define `ours`, a filter of squeue's lines for those of our job, without their marks.

    A job is known by the script that was submitted as it: nobody can change that, whatever a person calls the job or
    writes into its comment. Where a site's own sbatch submits a copy of the script, directory and name tell, and the
    comment was the directory in an earlier version. A shell that somebody opens in the directory is no job of ours.
    `task`: that one, too, of an array; squeue has to tell its id first, as ARRAY_TASK (`-r`).
    """
    array = f"{task.directory}/{contract.SCRIPT}" if task else ""
    called = f"{task.directory}|{posixpath.basename(task.directory)}" if task else ""
    words = {"directory": job_dir, "script": f"{job_dir}/{contract.SCRIPT}", "called": job_dir.rpartition("/")[2]}
    words |= {
        "array": array,
        "all": called,
        "folder": task.directory if task else job_dir,
        "task": str(task.number) if task else "",
    }
    names = " ".join(f"{name}={shlex.quote(word)}" for name, word in words.items())
    return f"""
ours() {{
  local {names}
  grep -F -e "$directory" -e "$folder" | while IFS='|' read -r told command place name comment; do
    if [ "$command" = "$script" ] || [ "$place|$name" = "$directory|$called" ] || [ "$comment" = "$directory" ]; then
      echo "$told"
    elif [ "$command" = "$array" ] || [ "$place|$name" = "$all" ]; then
      case "$array,$told " in ?*,*"_$task "*) echo "$told" ;; esac
    fi
  done
}}
"""


def current(slurm_id: str, job_dir: str) -> str:
    """Bash lines that set `id`, the Slurm job that runs or ran last for our job, and `next` and `spare`, those that
    wait for its end or "-": from JOB_DIR/chain (recipes/node_agent_lib/chain.py), else the one that was submitted,
    which `submitted` stays."""
    chain = shlex.quote(f"{job_dir}/{contract.CHAIN}")
    return f"""
id={shlex.quote(slurm_id)} next=- spare=- submitted={shlex.quote(slurm_id)}
read -r first second _ third 2>/dev/null < {chain} && [ -n "$second" ] && id=$first next=$second spare=${{third:--}}
"""


CONTROLLER, ALL = "squeue", "squeue sacct"  # what is not asked where it was silent just now


def query(slurm_id: str, job_dir: str, silent: str = "") -> str:
    """Bash lines that print what `parse` reads, a line a fact. Later sources are asked only where earlier ones fail.

    A controller that squeue could not reach is not asked again by scontrol: that would only wait for as long again.
    Where a job of a chain has ended, the next one is asked for too, behind a line `next`, and then the spare one.
    `silent`: CONTROLLER or ALL, as if these had been asked and had not answered.
    """
    logs = shlex.quote(f"{job_dir}/{contract.LOGS}")
    sacct = 'sacct -n -X -P -D -j "$1" -o State,ExitCode,NodeList,WorkDir,JobName,Comment'
    return f"""{PLAIN}{current(slurm_id, job_dir)}
err=$(mktemp)
say() {{ # SOURCE CODE OUTPUT
  local rest=$3$'\\n'
  while [ -n "$rest" ]; do printf '%s %s %s\\n' "$1" "$2" "${{rest%%$'\\n'*}}"; rest=${{rest#*$'\\n'}}; done
}}
ask() {{ # SOURCE COMMAND...
  source=$1; shift
  case " {silent} " in *" $source "*) code=124 out='not asked again'; say "$source" "$code" "$out"; return ;; esac
  out=$(timeout 10 "$@" 2>"$err"); code=$?
  [ "$code" = 0 ] || out="$(tr '\\n' ' ' < "$err")$out"  # of a task of an array scontrol says it on stdout
  say "$source" "$code" "$out"
}}
look() {{ # SLURM_ID
  ended=yes
  ask squeue squeue -h -j "$1" -o '%T|%r|%S|%N|%Z|%j|%k'
  case "$code:$out" in
    0:*'|'*) ended= ;;
    124:* | *'Unable to contact'* | *'timed out'*) ask sacct {sacct} ;;
    *) ask scontrol scontrol -o show job "$1"
      case "$code:$out" in 0:*JobState=*) ;; *)
        ask sacct {sacct} ;;
      esac ;;
  esac
}}
look "$id"
over=$ended
for following in "$next" "$spare"; do
  [ -n "$ended" ] && [ "$following" != - ] || continue
  echo next
  look "$following"
  [ -n "$ended" ] && ! ls {logs}/sbatch_*_"$following".out >/dev/null 2>&1 || id=$following
done
ended=$over
rm -f "$err"
"""


def parse(text: str, job: Job | None = None) -> Answer:
    """Read the output of `query`. What is said of a job that is not this one counts for nothing.

    The next job of a chain counts where the one before it has ended, as soon as it is more than taken out of the queue.
    """
    first, *more = text.split("\nnext\n")
    answer = _parse(first, job)
    if answer.state in contract.SLURM_ACTIVE:
        return answer
    for part in more:
        following = _parse(part, job)
        if not following.asked:
            return replace(following, following=True)
        if following.state == "CANCELLED":
            answer = replace(answer, dropped=True)
        elif following.state is not None:
            answer = replace(following, following=True)
    return answer


def silence(text: str) -> str:
    """What of Slurm's did not answer, by the output of `query`: CONTROLLER, ALL, or nothing (an empty string)."""
    said = _lines(text)
    if not any(line.source == "squeue" and _is_silent(line) for line in said):
        return ""
    return CONTROLLER if any(line.source == "sacct" and line.code == "0" for line in said) else ALL


def _is_silent(line: _Line) -> bool:
    return line.code == "124" or (line.code != "0" and bool(_NO_ANSWER.search(line.text)))


def _lines(text: str) -> list[_Line]:
    said = [_Line(*line.split(" ", 2)) for line in text.splitlines() if line.count(" ") >= 2]
    return [line for line in said if line.source in _READERS]


def _parse(text: str, job: Job | None) -> Answer:
    said = _lines(text)
    facts = [(line.source, *found) for line in said if line.code == "0" and (found := _READERS[line.source](line.text))]
    ours = [(source, answer) for source, answer, called in facts if job is None or job.is_meant(called)]
    now = next((answer for source, answer in ours if source != "sacct"), None)
    if now:
        return now
    lines = [line for line in said if line.source != "sacct"]
    gone = any(_UNKNOWN_JOB.search(line.text) for line in lines) or len(facts) > len(ours)
    known = gone or any(line.source == "squeue" and line.code == "0" for line in lines)
    past = ours[-1][1] if ours else None  # a requeued job has a line for each attempt
    if past and _is_final(past.state or "", known):
        return replace(past, stale=not known)
    return Answer(asked=gone)


@dataclass(frozen=True)
class Job:
    """How Slurm calls a job of ours. A person may change either; ids are used again, and each cluster has its own."""

    name: str
    directory: str  # the script sets it, `--chdir`
    array: str = ""  # the directory of the array of which a task has made the first attempt
    comment: str = ""  # a person's own; in an earlier version the directory, where `directory` could be another name

    def is_meant(self, called: Job) -> bool:
        """Whether Slurm's words are about this job: by its directory, else by its name where none is told."""
        told = called.directory.startswith("/")
        ours = self.directory in (called.directory, called.comment) or (called.name == self.name and not told)
        return ours or bool(self.array and self.array == called.directory)


@dataclass(frozen=True)
class _Line:
    source: str
    code: str
    text: str


def _is_final(state: str, gone: bool) -> bool:
    """Whether sacct's word is the last one: while slurmctld does not answer, the job may have been requeued; one that
    slurmctld does not have cannot be running still (sacct never heard of its end)."""
    return (
        state not in (contract.SLURM_WAITING | contract.SLURM_ACTIVE)
        if gone
        else state not in contract.SLURM_BEFORE_REQUEUE
    )


def _squeue(said: str) -> tuple[Answer, Job] | None:
    match = re.fullmatch(r"([A-Z_]+)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)", said)
    if not match:
        return None
    state, reason, start, nodes, directory, name, comment = match.groups()
    return Answer(True, state, _known(reason), _time(start), nodes or None), Job(name, directory, comment=comment)


def _scontrol(said: str) -> tuple[Answer, Job] | None:
    fields = dict(reversed(re.findall(r"(?:^|\s)([A-Za-z]+)=(\S*)", said)))  # a key's first value
    if "JobState" not in fields:
        return None
    code, signal = _exit(fields.get("ExitCode", ""))
    start, nodes = _time(fields.get("StartTime", "")), _known(fields.get("NodeList", ""))
    answer = Answer(True, fields["JobState"], _known(fields.get("Reason", "")), start, nodes, code, signal)
    return answer, Job(fields.get("JobName", ""), fields.get("WorkDir", ""), comment=fields.get("Comment", ""))


def _sacct(said: str) -> tuple[Answer, Job] | None:
    match = re.fullmatch(r"([A-Z_]+)( by \w+)?\+?\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)", said)
    if not match:
        return None
    code, signal = _exit(match[3])
    return Answer(True, match[1], None, None, _known(match[4]), code, signal), Job(match[6], match[5], comment=match[7])


_READERS = {"squeue": _squeue, "scontrol": _scontrol, "sacct": _sacct}


def _exit(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else (None, None)


def _known(text: str) -> str | None:
    return text if text and text not in ("None", "(null)", "N/A", "None assigned") else None


def _time(text: str) -> str | None:
    return text if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) else None
