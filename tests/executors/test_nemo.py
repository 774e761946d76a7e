"""The door to NeMo-Run, and what is done there that a later version may make needless."""

from __future__ import annotations

import subprocess
import sys

IMPORTS = "import sys, nemo_run; print(*(name for name in ('torch', 'leptonai') if sys.modules.get(name)))"
THROUGH_OUR_DOOR = """
import sys
from automodel_launch.executors import nemo
nemo._import()
assert "nemo_run" in sys.modules
assert "torch" not in sys.modules, "torch was imported"
assert not [name for name in sys.modules if name.startswith("leptonai")], "leptonai was imported"
import torch  # the way is free again
from nemo_run.run.torchx_backend.schedulers import lepton
assert "Starting" in lepton.LeptonJobState.__members__, "no stand-in stays"
"""


def test_nemo_run_still_imports_torch_and_leptonai_by_itself() -> None:
    """When this fails, nemo._import need not keep that one away any longer (seen with nemo_run 0.11.1)."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["torch", "leptonai"]


def test_our_import_leaves_them_out() -> None:
    subprocess.run([sys.executable, "-c", THROUGH_OUR_DOOR], check=True)
