"""A process of the job is killed or stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind


@kind()
def rank_killed(case: Case) -> None:
    """SIGKILL of a rank"""
    rank = case.rng.choice((0, 1))
    case.say(f"rank {rank}")
    case.start().kill_rank(rank)


@kind()
def rank_stopped(case: Case) -> None:
    """SIGSTOP of a rank, for ever"""
    rank = case.rng.choice((0, 1))
    case.say(f"rank {rank}")
    case.start().kill_rank(rank, signal.SIGSTOP)


@kind()
def torchrun_killed(case: Case) -> None:
    """SIGKILL of torchrun"""
    case.recipe, case.profile = "learner-torchrun", "torchrun"
    node = case.rng.choice((0, 1))
    case.say(f"node {node}")
    agent = case.start().agent_pid(node)
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    case.say(f"{len(children)} children of the agent")
    os.kill(int(children[-1]), signal.SIGKILL)


@kind()
def agent_killed(case: Case) -> None:
    """SIGKILL of a node's agent"""
    node = case.rng.choice((0, 1))
    case.say(f"node {node}")
    os.kill(case.start().agent_pid(node), signal.SIGKILL)


@kind()
def batch_killed(case: Case) -> None:
    """SIGKILL of the batch script"""
    run = case.start()
    pid = case.cluster.batch_script(run.attempt(0))
    assert pid, "no batch script"
    os.kill(pid, signal.SIGKILL)


@kind()
def error_with_a_secret(case: Case) -> None:
    """A rank fails with an exception that holds the secret"""
    step = case.rng.randint(6, 20)
    case.settings(tell_at=step)
    run = case.start(step - 1)
    case.until(lambda: len(run.history("begun")) > 1, 60, "the next attempt")
