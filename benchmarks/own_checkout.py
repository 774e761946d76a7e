"""A copy of the checkout, so that what a benchmark launches leaves no record in a person's own list of jobs."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def make(folder: Path) -> Path:
    """Its launch.py; byte code is copied along, and is still that of the copied files."""
    for name in ("automodel_launch", "recipes", "configs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    return Path(shutil.copy(ROOT / "launch.py", folder))
