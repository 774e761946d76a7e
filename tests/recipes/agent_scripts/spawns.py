"""`spawns.py OUT`: two spawned children, as a DataLoader has them; their prints belong to this rank's log."""

import multiprocessing
import os
import sys
from pathlib import Path


def square(number: int) -> int:
    """Runs in a child that has imported this script as __mp_main__."""
    print("child of rank", os.environ["RANK"], flush=True)
    return number * number


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        squares = pool.map(square, range(4))
    Path(f"{sys.argv[1]}-{os.environ['RANK']}").write_text(f"{squares} {os.environ['MARKER']}")
