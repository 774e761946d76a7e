"""Rank 0's lines on standard output."""

from __future__ import annotations

import os


def is_main() -> bool:
    """Tells whether this is rank 0, before and after torch.distributed has been set up."""
    return int(os.environ.get("RANK", "0")) == 0


def say(message: str) -> None:
    """Prints one line on standard output, on rank 0 only."""
    if is_main():
        print(message, flush=True)
