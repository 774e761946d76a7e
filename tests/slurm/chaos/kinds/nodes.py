"""A node fails, or lacks what a job needs."""

from __future__ import annotations

from tests.slurm.chaos.case import Case
from tests.slurm.chaos.kinds import kind
from tests.slurm.test_full_disk import Disk


def _node(case: Case) -> int:
    """One of the run's two nodes."""
    assert case.run
    number = case.rng.choice((0, 1))
    name = str(case.run.node(number)["host"])
    case.say(f"node {number}, {name}")
    return int(name[1:])


def _next_attempt(case: Case, timeout: float = 40) -> None:
    run = case.run
    assert run
    case.until(lambda: len(run.history("begun")) > 1, timeout, "the next attempt")


@kind()
def node_without_power(case: Case) -> None:
    """A node loses its power, and gets it back when the run goes on elsewhere"""
    case.start()
    case.cluster.kill_node(_node(case))
    _next_attempt(case, 90)


@kind()
def network_cut(case: Case) -> None:
    """A node's cable is pulled, for a while or until the run goes on elsewhere"""
    case.settings(steps=100)
    case.start()
    case.cluster.cut_node(_node(case))
    if case.rng.random() < 0.5:
        case.wait(3, 30)
    else:
        _next_attempt(case, 90)


@kind(calm=True)
def clock_step(case: Case) -> None:
    """The clock of a node steps, forwards or backwards"""
    case.commands.set("clock-armed")
    case.settings(steps=120)
    case.start()
    node, seconds = _node(case), case.rng.choice((3600, -3600, 90, 86400))
    case.say(f"{seconds:+d} s")
    case.commands.set(f"clock.c{node}", str(seconds))
    case.wait(3, 6)


@kind("FAILED", says_how=True)
def python_missing(case: Case) -> None:
    """A node has no python3 when the next attempt begins there"""
    run = case.start()
    case.commands.set(f"no-python.c{_node(case)}")
    run.kill_rank(1)
    _next_attempt(case, 20)
    case.wait(3, 6)


@kind("FAILED", says_how=True)
def node_tmp_full(case: Case) -> None:
    """/tmp of a node is full when the next attempt begins there"""
    run = case.start()
    node = _node(case)
    Disk(case.cluster.dir / "disk" / f"c{node}").fill()
    case.wait(0, 2)
    run.kill_rank(1)
    _next_attempt(case, 20)
    case.wait(3, 6)
