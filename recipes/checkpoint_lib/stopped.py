"""What ends a request about checkpoints, in a line for a person."""

from __future__ import annotations

from typing import Optional


class Stopped(Exception):
    """It cannot be done; the message is one line, and `fix` what would help."""

    def __init__(self, message: str, fix: Optional[str] = None) -> None:  # noqa: UP045 (Python 3.8)
        super().__init__(message)
        self.fix = fix
