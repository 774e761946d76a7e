"""A Python that has imported datatrove, and forks a `curate.py` for each request: a fork server (fork_server.py)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import fork_server  # type: ignore[import-not-found]  # beside this script


def warm_up() -> None:
    """Import what a stage does."""
    recipes = Path(sys.argv[1], "recipes")
    former, sys.path[0] = sys.path[0], str(recipes)
    for name in ("executor", "pipeline.filters", "pipeline.readers", "pipeline.writers"):
        importlib.import_module(f"datatrove.{name}")
    for path in sorted((recipes / "curate_lib").glob("[a-z]*.py")):
        importlib.import_module(f"curate_lib.{path.stem}")
    sys.path[0] = former


if __name__ == "__main__" and (SCRIPT := fork_server.forked(sys.argv[2], warm_up)) is not None:
    fork_server.run(SCRIPT)
