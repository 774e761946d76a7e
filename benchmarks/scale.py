"""What a job of many nodes asks of a shared file system and of slurmctld: counts, beside what it asked before.

    python benchmarks/scale.py [NODES ...]

Agents are simulated: their real journals and controls, on a clock that this script moves
(tests/recipes/agent_count.py). "before" is what strace showed before agents looked at one directory's time: 4.9
operations a second, and every agent reading every record at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from automodel_launch.jobs.records import Status
from automodel_launch.launch.pace import Pace
from tests.recipes.agent_count import Agent, Counted, counted

HOUR_S = 3600
STEADY_BEFORE = 4.9
POLL_S = 2.0


def _steady(nodes: int) -> tuple[float, float]:
    """Operations, and fsyncs, of one agent in a second, over an hour without news."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch, counted(patch) as counter:
        agent = Agent(Path(scratch), nodes - 1, nodes)
        agent.pass_time(60)
        counter.clear()
        agent.pass_time(HOUR_S)
        return (sum(counter.values()) - counter["read nodes"]) / HOUR_S, counter["fsync"] / HOUR_S


def _end(nodes: int) -> tuple[int, int, int]:
    """Records that are read when all of them end, operations in all, and bytes of the records."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch, counted(patch) as counter:
        agents = [Agent(Path(scratch), node, nodes) for node in range(nodes)]
        for agent in agents:
            agent.journal.save()
        counter.clear()
        for agent in agents:
            agent.end(0)
        size = sum(path.stat().st_size for path in Path(scratch, "job", "nodes").iterdir())
        return Counted.reads_of_nodes(counter), sum(counter.values()) - counter["read nodes"], size


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _questions(hours: int) -> float:
    """What an attached launcher asks slurmctld in an hour of a job that runs so many."""
    clock, times = _Clock(), 0
    pace = Pace(POLL_S, clock)
    while clock.now < hours * HOUR_S:
        if pace.due:
            times += 1
            pace.note(Status("RUNNING"))
        clock.now += POLL_S
    return times / hours


def main() -> None:
    """Print the table."""
    sizes = [int(word) for word in sys.argv[1:]] or [8, 128, 1024]
    print(f"{'nodes':>6} {'ops/s, agent':>13} {'ops/s, all':>11} {'before':>8} {'fsync/s':>8}", end=" ")
    print(f"{'records read at end':>20} {'before':>9} {'ops at end':>10} {'MB read':>8}")
    for nodes in sizes:
        steady, synced = _steady(nodes)
        reads, operations, size = _end(nodes)
        print(f"{nodes:>6} {steady:>13.2f} {steady * nodes:>11.0f} {STEADY_BEFORE * nodes:>8.0f}", end=" ")
        print(f"{synced:>8.2f} {reads:>20,} {nodes * nodes:>9,} {operations:>10,} {size / 1e6:>8.2f}")
    for hours in (1, 24):
        now, before = _questions(hours), HOUR_S / POLL_S
        ratio = f"before: {before:.0f}, {before / now:.0f} x"
        print(f"slurmctld, attached for {hours} h: {now:.0f} questions an hour ({ratio})")


if __name__ == "__main__":
    main()
