"""scripts/gpu-trial, as far as a machine without a GPU goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environ

COMMAND = [sys.executable, str(ROOT / "scripts" / "gpu-trial")]


def test_it_says_what_it_lacks(tmp_path: Path) -> None:
    environ = {**clean_environ(), "OUT": str(tmp_path / "out")}
    done = subprocess.run([*COMMAND, "run", str(tmp_path)], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "gpu-trial pack" in done.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.timeout(900)
def test_every_trial_holds_on_a_cpu(tmp_path: Path) -> None:
    environ = {**clean_environ(), "OUT": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "try", "--cpu", "--minutes", "12"], env=environ, capture_output=True, text=True, check=False
    )
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(name, seen) for name, held, seen, _ in rows if held != "ok"] == []
    assert done.returncode == 0
    assert [name for name, *_ in rows] == [
        "machine",
        "data",
        "tiny",
        "adapter",
        "killed",
        "nanogpt",
        "llama",
        "memory",
        "doctor",
    ]
    assert done.stdout.startswith("| trial | held | seen | s |")
