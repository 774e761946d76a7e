"""One launch out of texts, in this process: what it prints and returns, and what must not be."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest import mock

from automodel_launch.commands import main
from tests.faults import launches
from tests.faults.launches import Launch, Stage

CODES = {0, 2, 3, 4}
SECONDS = 5  # of CPU time, so that a busy machine finds no fault


class Slow(BaseException):
    """A launch that took more than its time; no `except Exception` hides it."""


@dataclass(frozen=True)
class Place:
    """Where launches are made: files that are there, odd ones too, and what Slurm's commands would answer."""

    stage: Stage

    @property
    def here(self) -> Path:
        """The folder of env.toml and of the config."""
        return self.stage.here

    def write(self, name: str, text: str) -> Path:
        """A file of this launch, with the real directories in it; what UTF-8 lacks is left out."""
        path = self.here / name
        path.write_bytes(self.stage.text(text).encode("utf-8", "ignore"))
        return path


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A place, and the shell of its launches.

    Every launch reads its own env.toml and config.
    """
    stage = Stage(folder / "here", *launches.share(folder))
    launch = Launch("fuzz", profile="site")
    stage.here.mkdir()
    _odd_files(stage.here)
    with launches.shell(launch, stage):
        yield Place(stage)


def _odd_files(here: Path) -> None:
    os.mkfifo(here / "fifo")
    (here / "loop").symlink_to("loop")
    (here / "folder.yaml").mkdir()
    with (here / "zeros.bin").open("wb") as file:
        file.truncate(1 << 33)  # sparse
    (here / "zeros.idx").write_bytes(bytes(100))
    (here / "empty").touch()
    (here / "binary.json").write_bytes(bytes(range(256)))
    (here / "deep.json").write_text("[" * 100_000)
    (here / "nan.json").write_text('{"train": [NaN, "a", 1e999, "b", -Infinity, null], "valid": {"a": []}}')
    (here / "own.py").write_text("def f(): pass\n")


def launch(argv: Sequence[str]) -> tuple[int, str]:
    """The exit code and all that was printed.

    Raises:
        Slow: it took more than its time.
        Exception: what a person would see as a traceback.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), _limit(), mock.patch.object(sys, "stdin"):
        try:
            code = main.main(list(argv))
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
    return code, out.getvalue()


def judged(argv: Sequence[str]) -> tuple[int, str]:
    """The same, and what it is held to."""
    code, text = launch(argv)
    assert code in CODES, (code, text[-2000:])
    assert "Traceback" not in text, text[-2000:]
    assert text.strip(), "not a word"
    longest = max(map(len, text.splitlines()), default=0)
    assert longest < 20_000, f"a line of {longest} characters: {text[:300]!r}"
    return code, text


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> None:
        raise Slow(f"more than {SECONDS} s of CPU time")

    before = signal.signal(signal.SIGPROF, over)
    waits = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, 1)
    signal.setitimer(signal.ITIMER_REAL, 20 * SECONDS, 1)  # what waits for a file that nobody writes takes no CPU time
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGPROF, before)
        signal.signal(signal.SIGALRM, waits)


def quoted(text: str) -> str:
    """A string as YAML and TOML both read it."""
    return json.dumps(text)
