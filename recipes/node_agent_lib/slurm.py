"""What the batch script asks of Slurm for its job: the next one in the chain, and how the last one ended."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass

import contract

_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")  # which one, and how it knows this user
_ENVIRON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LD_LIBRARY_PATH", *_CLUSTER)
_PATIENCE_S = 60.0  # a busy slurmctld
_TIMES = ("StartTime", "EndTime")
_FROM_OUTSIDE = {theirs: ours for theirs, ours in contract.SLURM_FAILURES.items() if ours != contract.FAILED}


def own_id() -> str:
    """This Slurm job's id, "" where there is none. A task of an array is ARRAY_TASK: the number that it has besides is,
    for one of them, that of the array, and so of all."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID", ""), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


class SlurmError(Exception):
    """Slurm refused, or did not answer; the message is its own, in one line."""


def submit_next(script: str, after: list[str], exclude: list[str]) -> str:
    """Submit `script` to start when the jobs `after` have ended, however they end; the new job's id.

    Nodes to exclude are a wish: where Slurm cannot do without them it is asked again without it.
    """
    dependency = "--dependency=afterany:" + ":".join(after)
    command = ["sbatch", "--parsable", "--no-requeue", dependency, "--kill-on-invalid-dep=yes"]
    if exclude:
        try:
            return _id(_run([*command, "--exclude=" + ",".join(exclude), script]))
        except SlurmError:
            pass
    return _id(_run([*command, script]))


def submit(script: str) -> str:
    """Submit another job than this one; its id."""
    return _id(_run(["sbatch", "--parsable", script]))


def _id(output: str) -> str:
    found, _, cluster = output.strip().partition(";")
    if not found.isdigit():
        raise SlurmError(f"unexpected answer of sbatch: {output!r}")
    if cluster and _queued(found) == "":  # a site's own sbatch has chosen it, and nobody here would see the job
        _run(["scancel", "-M", cluster, found])
        raise SlurmError(f"sbatch sent it to another cluster, {cluster}, as {found}; it was cancelled there")
    return found


def exclude(job: str, nodes: list[str]) -> None:
    """Keep a waiting job off these nodes."""
    _run(["scontrol", "update", f"JobId={job}", "ExcNodeList=" + ",".join(nodes)])


def cancel(jobs: list[str]) -> None:
    """End jobs that have not begun."""
    _run(["scancel", "--state=PENDING", *jobs])


def waiting_in(job_dir: str) -> list[str] | None:
    """The jobs in the queue that have not begun and whose script lies there; None where Slurm does not answer.

    Where a site's own sbatch submits a copy of the script, directory and name tell (slurm_query.py of the launcher).
    """
    try:
        listed = _run(["squeue", "-h", "-u", str(os.getuid()), "-t", contract.PENDING, "-o", "%i|%o|%Z|%j"])
    except SlurmError:
        return None
    script, called = os.path.join(job_dir, contract.SCRIPT), os.path.basename(job_dir)
    rows = [line.split("|", 3) for line in listed.splitlines() if line.count("|") >= 3]
    return [job for job, command, place, name in rows if command == script or (place, name) == (job_dir, called)]


def answers() -> bool:
    """Whether slurmctld does."""
    return waiting_in("") is not None


def end_own() -> None:
    """Take this Slurm job, whose batch script is lost, out of the queue."""
    _run(["scancel", own_id()])


def release(jobs: list[str]) -> None:
    """Let jobs go that their owner holds."""
    _run(["scontrol", "release", *jobs])


def waits(job: str) -> bool | None:
    """Whether that job is in the queue and has not begun; None where Slurm does not answer."""
    state = _queued(job)
    return None if state is None else state == contract.PENDING


def runs(job: str) -> bool:
    """Whether that job is in the queue and has begun."""
    return _queued(job) in contract.SLURM_ACTIVE


def trains(job: str) -> bool:
    """The same, and its batch script has not ended."""
    return _queued(job) in contract.SLURM_ACTIVE - {"COMPLETING"}


def _queued(job: str) -> str | None:
    """Its state in the queue, "" where it is not there; None where Slurm does not answer."""
    try:
        return _run(["squeue", "-h", "-j", job, "-o", "%T"]).strip()
    except SlurmError as error:
        return "" if "Invalid job id" in str(error) else None


def show(job: str) -> dict[str, str]:
    """What slurmctld has about a job, under scontrol's names, times in unix seconds; empty where it does not say."""
    try:
        shown = _run(["scontrol", "-o", "show", "job", job], SLURM_TIME_FORMAT="%s")
    except SlurmError:
        return {}
    return dict(reversed(re.findall(r"(?:^|\s)([A-Za-z]+)=(\S*)", shown)))  # a key's first value


def state(job: str) -> str | None:
    """How Slurm says that a job was ended from outside; None where it was not, or where Slurm does not say."""
    return _state(show(job))


def end(job: str) -> tuple[str | None, float | None]:
    """The same, and for how many seconds the job had its nodes, where it is over and Slurm says that."""
    shown = show(job)
    return _state(shown), _ended_s(shown)


def _state(shown: dict[str, str]) -> str | None:
    state = _FROM_OUTSIDE.get(shown.get("JobState", ""))
    if state is None and shown.get("PreemptTime", "")[:1].isdigit():  # it ended by itself within the GraceTime
        return contract.PREEMPTED
    return state


def _ended_s(shown: dict[str, str]) -> float | None:
    start, end = (shown.get(key, "") for key in _TIMES)
    ended = shown.get("JobState", "") not in {"", *contract.SLURM_WAITING, *contract.SLURM_ACTIVE}
    return float(end) - float(start) if ended and start.isdigit() and end.isdigit() else None


def clock() -> float | None:
    """The controller's time of day. squeue's TimeLeft and scontrol's RunTime go by the clock of who asks (22.05)."""
    try:
        found = re.search(r"^sdiag output at .*\((\d+)\)", _run(["sdiag"]), re.MULTILINE)
    except SlurmError:
        return None
    return float(found.group(1)) if found else None


@dataclass(frozen=True)
class Span:
    """A running job's time, in seconds by the controller's clock: since its start, and until its end if it has one."""

    used_s: float
    left_s: float | None


def span(job: str) -> Span | None:
    """The time of a running job; None where Slurm does not answer.

    Without the controller's clock this node's has to do, in so far as its answer lies within the job's time.
    """
    shown = show(job)
    start, end = (float(text) if text.isdigit() else None for text in (shown.get(k, "") for k in _TIMES))
    if start is None:
        return None
    now = clock()
    used = (time.time() if now is None else now) - start
    used = max(0.0, used if end is None else min(used, end - start))
    return Span(used, None if end is None else end - start - used)


def allocated_s(job: str, runs_still: bool) -> float | None:
    """How long a job has had its nodes; None where Slurm does not say."""
    if runs_still:
        found = span(job)
        return found.used_s if found else None
    return _ended_s(show(job))


def command(job: str) -> str | None:
    """The script that was submitted as that job, None where Slurm does not say."""
    if not job:
        return None
    try:
        shown = _run(["squeue", "-h", "-j", job, "-o", "%o"]).strip()
    except SlurmError:
        return None
    return shown if os.path.isabs(shown) else None


def down(nodes: list[str], patience_s: float = _PATIENCE_S) -> list[str]:
    """Those of the nodes that Slurm itself cannot use now; none where it does not answer within `patience_s`."""
    if not nodes:
        return []
    try:
        shown = _run(["sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%n %t"], patience_s)
    except SlurmError:
        return []
    found = {line.split()[0] for line in shown.splitlines() if re.search(r" (down|drain|drng|fail|boot|unk)", line)}
    return sorted(found)


def _run(command: list[str], patience_s: float = _PATIENCE_S, **environ: str) -> str:
    """The output. Of this job's environment only what the commands need: SLURM_* would reach the new job."""
    kept = {name: os.environ[name] for name in _ENVIRON if name in os.environ}
    try:
        done = subprocess.run(command, env={**kept, **environ}, capture_output=True, timeout=patience_s)
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not on this node's PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise SlurmError(f"{command[0]}: " + " ".join(os.fsdecode(done.stderr).split()))
    return os.fsdecode(done.stdout)
