"""What the batch script asks of Slurm for its job: the next one in the chain, and how the last one ended."""

from __future__ import annotations

import os
import re
import subprocess

import contract

_ENVIRON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "SLURM_CONF", "LD_LIBRARY_PATH")
_PATIENCE_S = 60.0  # a busy slurmctld
_FROM_OUTSIDE = {theirs: ours for theirs, ours in contract.SLURM_FAILURES.items() if ours != contract.FAILED}


class SlurmError(Exception):
    """Slurm refused, or did not answer; the message is its own, in one line."""


def submit_next(script: str, after: str, exclude: list[str]) -> str:
    """Submit `script` to start when job `after` has ended, however that ends; the new job's id.

    Nodes to exclude are a wish: where Slurm cannot do without them it is asked again without it.
    """
    command = ["sbatch", "--parsable", "--no-requeue", f"--dependency=afterany:{after}", "--kill-on-invalid-dep=yes"]
    if exclude:
        try:
            return _id(_run([*command, "--exclude=" + ",".join(exclude), script]))
        except SlurmError:
            pass
    return _id(_run([*command, script]))


def _id(output: str) -> str:
    found = output.strip().partition(";")[0]
    if not found.isdigit():
        raise SlurmError(f"unexpected answer of sbatch: {output!r}")
    return found


def exclude(job: str, nodes: list[str]) -> None:
    """Keep a waiting job off these nodes."""
    _run(["scontrol", "update", f"JobId={job}", "ExcNodeList=" + ",".join(nodes)])


def cancel(job: str) -> None:
    """End a job that has not begun."""
    _run(["scancel", "--state=PENDING", job])


def waits(job: str) -> bool:
    """Whether that job is in the queue and has not begun."""
    try:
        return _run(["squeue", "-h", "-j", job, "-o", "%T"]).strip() == contract.PENDING
    except SlurmError:
        return False


def runs(job: str) -> bool:
    """Whether that job is in the queue and has begun."""
    try:
        return _run(["squeue", "-h", "-j", job, "-o", "%T"]).strip() in contract.SLURM_ACTIVE
    except SlurmError:
        return False


def state(job: str) -> str | None:
    """How Slurm says that a job was ended from outside; None where it was not, or where Slurm does not say."""
    try:
        shown = _run(["scontrol", "-o", "show", "job", job])
    except SlurmError:
        return None
    found = re.search(r"\bJobState=(\w+)", shown)
    state = _FROM_OUTSIDE.get(found.group(1)) if found else None
    if state is None and re.search(r"\bPreemptTime=\d", shown):  # it ended by itself within the GraceTime
        return contract.PREEMPTED
    return state


def end_time(job: str) -> str | None:
    """When Slurm will end a running job, in unix seconds, as a string."""
    try:
        shown = _run(["squeue", "-h", "-j", job, "-o", "%e"], SLURM_TIME_FORMAT="%s").strip()
    except SlurmError:
        return None
    return shown if shown.isdigit() else None


def command(job: str) -> str | None:
    """The script that was submitted as that job, None where Slurm does not say."""
    if not job:
        return None
    try:
        shown = _run(["squeue", "-h", "-j", job, "-o", "%o"]).strip()
    except SlurmError:
        return None
    return shown if os.path.isabs(shown) else None


def down(nodes: list[str]) -> list[str]:
    """Those of the nodes that Slurm itself cannot use now."""
    if not nodes:
        return []
    try:
        shown = _run(["sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%n %t"])
    except SlurmError:
        return []
    found = {line.split()[0] for line in shown.splitlines() if re.search(r" (down|drain|drng|fail|boot|unk)", line)}
    return sorted(found)


def _run(command: list[str], **environ: str) -> str:
    """The output. Of this job's environment only what the commands need: SLURM_* would reach the new job."""
    kept = {name: os.environ[name] for name in _ENVIRON if name in os.environ}
    try:
        done = subprocess.run(command, env={**kept, **environ}, capture_output=True, timeout=_PATIENCE_S)
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not on this node's PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise SlurmError(f"{command[0]}: " + " ".join(os.fsdecode(done.stderr).split()))
    return os.fsdecode(done.stdout)
