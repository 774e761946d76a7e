"""The door to NeMo-Run, and what is done there that a later version may make needless."""

from __future__ import annotations

import subprocess
import sys

SHOWS_TORCH = "import sys, nemo_run; sys.exit(0 if sys.modules.get('torch') else 3)"
THROUGH_OUR_DOOR = """
import sys
from automodel_launch.executors import nemo
nemo._import()
assert "nemo_run" in sys.modules
assert "torch" not in sys.modules, "torch was imported"
import torch  # the way is free again
"""


def test_nemo_run_still_imports_torch_by_itself() -> None:
    """When this fails, nemo._import need not keep torch away any longer (seen with nemo_run 0.11.1)."""
    assert subprocess.run([sys.executable, "-c", SHOWS_TORCH], check=False).returncode == 0


def test_our_import_leaves_torch_out() -> None:
    subprocess.run([sys.executable, "-c", THROUGH_OUR_DOOR], check=True)
