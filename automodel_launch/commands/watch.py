"""`-w`: looks again and again. On a terminal one screen that is drawn anew; else a line for each change.

A look is one question about the job's state and one reading of its files. Looks are never more frequent than those of
`attach`, and become rare while nothing happens.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from automodel_launch.commands import console, spark
from automodel_launch.commands.command import Option
from automodel_launch.commands.job_view import Screen
from automodel_launch.launch.interrupts import Interrupts

WATCH = Option(
    ("-w", "--watch"), "look again and again: a screen, or where there is no terminal a line for each change"
)
SLOWEST_S = 30.0
_SLOWER = 1.3  # times, after a look without news
_DRAW_S = 1.0
_TICK_S = 0.1

Draw = Callable[[Screen], Sequence[str]]


@dataclass
class Pause:
    """Seconds between two looks: `least`, and more while nothing happens. `least` may change."""

    least: float
    seconds: float = 0.0

    def after(self, news: bool) -> float:
        """How long to wait after a look that has brought news, or none."""
        self.seconds = self.least if news else min(SLOWEST_S, max(self.least, self.seconds) * _SLOWER)
        return max(self.least, self.seconds)


class Impatient(Interrupts):
    """A second Ctrl-C does not wait for an answer that may take a minute, of a host that is away say."""

    def _note(self, number: int, frame: Any) -> None:
        super()._note(number, frame)
        if number == signal.SIGINT and len(self.received) > 1:
            raise KeyboardInterrupt


@dataclass
class Watcher:
    """Draws on the terminal, or writes lines; collects Ctrl-C and its like meanwhile."""

    interrupts: Interrupts = field(default_factory=Impatient)
    draw: Callable[[Draw], None] | None = None  # on a terminal

    @property
    def left(self) -> bool:
        """Whether somebody has asked to leave."""
        return bool(self.interrupts.received)

    @property
    def code(self) -> int:
        """The exit code then."""
        return self.interrupts.code

    def wait(self, seconds: float, lines: Draw) -> None:
        """Wait; a screen is drawn anew meanwhile, with the terminal's size as it is by then."""
        end, drawn = time.monotonic() + seconds, 0.0
        while not self.left and (now := time.monotonic()) < end:
            if self.draw is not None and now - drawn >= _DRAW_S:
                self.draw(lines)
                drawn = now
            time.sleep(min(_TICK_S, max(0.0, end - now)))


def is_screen() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


@contextmanager
def watching(json: bool = False) -> Iterator[Watcher]:
    """A watcher; the terminal is as it was before, whatever happens."""
    watcher = Watcher()
    with watcher.interrupts.caught():
        if json or not is_screen():
            yield watcher
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        terminal = Console(file=sys.stdout, force_terminal=True, highlight=False, soft_wrap=False)
        blocks = spark.has_blocks(sys.stdout.encoding)
        with Live(Text(""), console=terminal, screen=True, auto_refresh=False, transient=True) as live:

            def draw(lines: Draw) -> None:
                columns, rows = terminal.size
                text = lines(Screen(max(console.NARROWEST // 2, columns), rows, blocks))
                live.update(Text("\n".join(text), no_wrap=True, overflow="crop"), refresh=True)

            watcher.draw = draw
            yield watcher
