"""What people and Slurm do to a job in the queue, without the launcher."""

from __future__ import annotations

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.chaos.tally import LIE


@kind("CANCELLED")
def scancel(case: Case) -> None:
    """scancel from outside"""
    run = case.start()
    case.cluster.check("scancel", str(run.attempt(0)))
    case.until(lambda: not case.live(), 60, "an empty queue")


@kind()
def preempted(case: Case) -> None:
    """A job of higher priority takes the nodes"""
    case.start()
    other = case.cluster.submit("sleep 2", "--partition=high", "--nodes=4", "--exclusive")
    case.cluster.wait_for(other)


@kind()
def requeued(case: Case) -> None:
    """An operator insists on a requeue"""
    run = case.start()
    slurm_id = str(run.attempt(0))
    case.cluster.check("scontrol", "update", f"jobid={slurm_id}", "requeue=1")
    case.cluster.check("scontrol", "requeue", slurm_id)
    case.wait(6, 8)
    case.cluster.run("scontrol", "update", f"jobid={slurm_id}", "starttime=now")


@kind()
def time_limit_in_a_step(case: Case) -> None:
    """The time limit comes at once, made shorter by an operator"""
    case.settings(steps=500, pause=0.1)
    case.cluster.expire(case.start().attempt(0))


@kind()
def held(case: Case) -> None:
    """The next job of the chain is held by scontrol, and released later"""
    run = case.start()
    case.cluster.check("scontrol", "hold", str(run.next))
    run.kill_rank(1)
    case.wait(8, 12)
    said = case.launch("status", run.id).stdout
    if "error: JobHeld" in said:
        case.find(LIE, f"`status` calls Slurm's reason for waiting an error: {' '.join(said.split())[:300]}")
    case.cluster.check("scontrol", "release", *(str(job.id) for job in case.live()))


@kind("CANCELLED")
def renamed(case: Case) -> None:
    """Renamed by scontrol, then cancelled"""
    run = case.start()
    case.cluster.check("scontrol", "update", f"jobid={run.attempt(0)}", "name=somebody")
    case.wait(5, 8)
    said = case.launch("cancel", run.id, timeout=90)
    if case.live() and not said.returncode:
        case.find(LIE, f"`cancel` says {said.stdout.strip()!r}, and Slurm has {[j.state for j in case.live()]}")


@kind(calm=True)
def suspended(case: Case) -> None:
    """Suspended by scontrol for longer than `stall`, then resumed"""
    run = case.start()
    slurm_id = str(run.attempt(0))
    case.cluster.check("scontrol", "suspend", slurm_id)
    case.wait(8, 12)
    case.cluster.check("scontrol", "resume", slurm_id)


@kind("FAILED", says_how=True)
def successor_killed(case: Case) -> None:
    """The next job's batch script is killed before it has begun anything"""
    run = case.start()
    case.commands.set("kill-begin")
    run.kill_rank(1)
    if not case.until(lambda: case.commands.has("killed-begin"), 60, "the start of the next job"):
        case.say("the next job never started")
    case.wait(6, 8)
