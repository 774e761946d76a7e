"""`attach SWEEP`: a line for every point whose state changes, until all have ended; on a terminal a live table."""

from __future__ import annotations

import argparse
import sys
import time

from automodel_launch import contract
from automodel_launch.commands import console, one_sweep
from automodel_launch.commands.one_sweep import Row
from automodel_launch.jobs.sweeps import Sweep
from automodel_launch.launch.closing import exit_code
from automodel_launch.launch.interrupts import Interrupts
from automodel_launch.launch.pace import Pace

SHORTEST_S = 5.0  # between two looks at first


def attach(args: argparse.Namespace, sweep: Sweep) -> int:
    """Follow; 0 where every point has completed, else the code of the first one that has not. Ctrl-C leaves them."""
    interrupts = Interrupts()
    rows = follow(args, sweep, interrupts)
    if args.json:
        console.document(one_sweep.document(sweep, rows), indent=None)
    else:
        console.out(one_sweep.counted(sweep, rows))
    return result(rows) if is_over(rows) else interrupts.code


def is_over(rows: list[Row]) -> bool:
    """Whether nothing of it runs, or will."""
    return all(row.over for row in rows)


def follow(args: argparse.Namespace, sweep: Sweep, interrupts: Interrupts) -> list[Row]:
    """Say every change, until all points have ended or a signal has come; how they are then."""
    console.say(f"following {sweep.name}. Ctrl-C leaves it, and it goes on; `python launch.py cancel {sweep.name}`.")
    shown, rows, pace = Shown(sweep), list[Row](), Pace(SHORTEST_S)
    with interrupts.caught():
        while True:
            rows = one_sweep.look(args, sweep, [row for row in rows if row.over])
            pace.saw(tuple(row.now.state for row in rows))
            shown.tell(rows)
            if is_over(rows) or interrupts.received:
                return rows
            _sleep(pace.left_s, interrupts)


def result(rows: list[Row]) -> int:
    """The exit code of a sweep that is over."""
    return next((exit_code(row.now) for row in rows if row.now.state != contract.COMPLETED), 0)


def _sleep(seconds: float, interrupts: Interrupts) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not interrupts.received:
        time.sleep(0.2)


class Shown:
    """What stands on stderr: changes, or on a terminal that holds all points one table in its place."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.states, self.lines = sweep, dict[int, str](), 0

    def tell(self, rows: list[Row]) -> None:
        """Show the rows as they are now."""
        if sys.stderr.isatty() and len(rows) + 2 < console.height():
            self._redraw(rows)
            return
        for row in rows:
            if self.states.get(row.number) != row.now.state:
                why = f": {row.why}" if row.why else ""
                console.say(f"{row.called(self.sweep)} ({self._settings(row)}) {row.now.state}{self._at(row)}{why}")
                self.states[row.number] = row.now.state

    def _redraw(self, rows: list[Row]) -> None:
        cells = [[row.called(self.sweep), self._settings(row), row.now.state, self._at(row).strip()] for row in rows]
        columns = console.width()
        up = f"\033[{self.lines}A" if self.lines else ""
        text = "".join(f"\033[2K{console.cut(line, columns - 1)}\n" for line in console.table(cells))
        sys.stderr.write(up + text)
        sys.stderr.flush()
        self.lines = len(rows)

    def _settings(self, row: Row) -> str:
        keys = one_sweep.short(self.sweep.keys)
        values = zip(keys, one_sweep.settings(row.point.settings, self.sweep.keys), strict=True)
        return " ".join(f"{key}={value}" for key, value in values if value)

    def _at(self, row: Row) -> str:
        return "" if row.now.step is None else f", step {row.now.step + 1}"
