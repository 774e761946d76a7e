"""Standard output and error that take nothing more: a full disk, a terminal that was closed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO


def to_nowhere(stream: IO[str]) -> None:
    """Have a stream that cannot be written take what is written, and what waits in it, and drop it."""
    with contextlib.suppress(OSError, ValueError):
        target = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, target)
        os.close(null)


def said(stream: IO[str], error: OSError) -> str:
    """In words, that a stream cannot be written, with the file that it goes to; to be asked before `to_nowhere`."""
    name, path = "the output", ""
    with contextlib.suppress(OSError, ValueError):
        name = "standard output" if stream.fileno() == 1 else name
        target = str(Path(f"/proc/self/fd/{stream.fileno()}").readlink())
        path = f" ({target})" if target.startswith("/") else ""
    return f"{name}{path} cannot be written: {error.strerror or type(error).__name__}"
