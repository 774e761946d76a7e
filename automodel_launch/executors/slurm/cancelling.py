"""Ending a Slurm job: through its stop file, which needs no Slurm, and through scancel.

A plain scancel gives the ranks KillWait to save, 30 s on most clusters. So the steps get SIGTERM: the agents pass it on
and keep the time, and the job ends when they do. Where no step runs there is nobody to wait for.
"""

from __future__ import annotations

import posixpath
import shlex

from automodel_launch import contract
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.jobs.records import Record
from automodel_launch.remote import slurm_query, slurm_site
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_environment import PLAIN
from automodel_launch.remote.slurm_query import Task

_MARKED, _ENDED, _SUSPENDED = "marked", "ended", "suspended"
# scancel keeps off another job of that id (elsewhere, or later, ids are somebody else's): by its script, else by the
# name, which a person may have changed. What waits first, the last of it before all: none may begin meanwhile.
_BEFORE = f"""
ids=$id; for waiting in "$next" "$spare"; do [ "$waiting" = - ] || ids=$ids,$waiting; done
listed=$(timeout 10 squeue -h -r -j "$ids" -o '%i|{slurm_query.MARKS}' 2>/dev/null); unseen=$?
end() {{ # SLURM_ID OPTION...
  which=$1; shift
  printf '%s\\n' "$listed" | ours | grep -qxF "$which" || set -- "$@" --name="$name"
  timeout 30 scancel "$@" "$which"
}}
for waiting in "$spare" "$next"; do
  [ "$waiting" = - ] || {{ end "$waiting" 2>/dev/null && echo {_ENDED}; }}
done
"""
# What is suspended takes no signal, and scancel would try for minutes; without a signal Slurm ends it as a whole.
_STOPPED = f"""
if [ -n "$(timeout 10 squeue -h -j "$id" -t SUSPENDED,STOPPED -o %i 2>/dev/null)" ]; then
  end "$id" && rm -f "$left" && echo {_SUSPENDED}
  exit
fi
"""
_KILL = 'end "$id" --signal=KILL --full && rm -f "$left"\n'
# A job without a directory cannot save anything, and its batch script's end would look like a failure. One in whose
# directory nothing can be made cannot either, and a chain that is told by a signal alone goes on.
_ASK = """
if [ ! -d "$job" ] && [ ! -d "$run" ]; then
  end "$id"
elif [ "$next" != - ] && [ -d "$job" ] && [ ! -e "$job"/{stop} ]; then
  end "$id"
elif [ "$unseen" = 0 ] && ! squeue -h -s -j "$id" -o %i 2>/dev/null | grep -qE '\\.[0-9]+$'; then
  end "$id" && rm -f "$left"
else # also where squeue does not say: what waits has no step, and ends by the first line
  [ "$unseen" = 0 ] || end "$id" --state=PENDING 2>/dev/null
  end "$id" --signal=TERM
fi
""".replace("{stop}", contract.STOP)
# The reserve is there for the job's own records: no file needs it more than this one.
_MARK = f"""
mark() {{ {{ echo "$how" > "$job"/{contract.STOP}; }} 2>/dev/null || [ -e "$job"/{contract.STOP} ]; }}
{{ mark || {{ rm -f "$job"/{contract.RESERVE}; mark; }}; }} && echo {_MARKED}
"""
_OVER = ("already completing or completed",)
_NO_JOB = "Invalid job id"


def cancel(shell: Shell, record: Record, now: bool) -> str | None:
    """Ask for the job's end; what a person has to know where that comes about without Slurm.

    Raises:
        JobError: Slurm refuses, or does not know the job.
        ClusterError: neither Slurm nor the job's directory could be reached.
    """
    done = shell.run(script(record, now), timeout=120)
    said = " ".join(done.err.split())
    if done.code == 0 and _SUSPENDED in done.out.split():
        return "It was suspended, so the training could not save: it goes on from its last checkpoint if it is resumed."
    if done.code == 0 or any(words in said for words in _OVER):
        return None
    if slurm_site.unanswered(done.code, said):
        if _MARKED not in done.out.split():
            raise ClusterError(f"{shell.place}: {record.job_id} could not be cancelled: {said}", "try it again")
        return _without_slurm(record, now)
    if _NO_JOB in said and _ENDED in done.out.split():  # of the attempt before the one that waited
        return None
    if _NO_JOB in said:
        slurm_id = record.handle.get("slurm_id")
        raise JobError(f"{record.job_id}: Slurm has no job {slurm_id} that could be cancelled.", "launch.py status")
    raise JobError(f"{record.job_id}: scancel: {said}")


def script(record: Record, now: bool) -> str:
    """Bash lines. The stop file comes first: whatever becomes of scancel, the agents see it within seconds."""
    task = Task.of(record.handle)
    words = {
        "job": record.job_dir,
        "run": record.run_dir,
        "name": posixpath.basename(task.directory) if task else record.job_id,
        "how": "now" if now else "cancel",
        "left": f"{record.job_dir}/{contract.SECRETS}",  # a job that waits has no agent to remove it
    }
    names = "\n".join(f"{name}={shlex.quote(value)}" for name, value in words.items())
    current = slurm_query.current(str(record.handle["slurm_id"]), record.job_dir)
    current += slurm_query.ours(record.job_dir, task)
    return f"{PLAIN}{names}\n{_MARK}{current}{_BEFORE}{_STOPPED}{_KILL if now else _ASK}"


def _without_slurm(record: Record, now: bool) -> str:
    grace = record.handle.get("stop_grace")
    again = " Killing it at once needs Slurm: `cancel --now` again, when it answers." if now else ""
    return (
        f"Slurm does not answer, but the job's agents see its stop file within seconds: the training may save for "
        f"{grace} s, and is ended then. A job that still waits in the queue ends as soon as Slurm starts it.{again}"
    )
