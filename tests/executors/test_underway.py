"""Whether the command that submits a job is still at it, also where there is no flock(1)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from automodel_launch.executors import underway


@pytest.mark.parametrize("names", [("bash", "cat", "flock"), ("bash", "cat")], ids=["flock", "no-flock"])
def test_the_lock_is_held_until_what_the_command_has_started_is_gone(tmp_path: Path, names: tuple[str, ...]) -> None:
    if not all(shutil.which(name) for name in names):
        pytest.skip("there is no flock(1)")
    (tmp_path / "bin").mkdir()
    for name in names:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    script = f"{underway.holding(str(tmp_path), here=True)}echo held\nexec cat"
    command = [str(shutil.which("bash")), "-c", script]
    process = subprocess.Popen(command, env={"PATH": str(tmp_path / "bin")}, stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert underway.here(str(tmp_path))
    process.stdin.close()
    process.wait()
    process.stdout.close()
    assert not underway.here(str(tmp_path))
