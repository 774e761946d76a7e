"""When the agent names the image's own Python, and when somebody has chosen another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.recipes.pretrain_fixtures import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

from node_agent_lib import image_path

SLURM = {b"SLURM_JOB_ID": b"5"}
LACKING = "/usr/bin/python3: No module named torch"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image whose PATH begins with a virtual environment."""
    python = tmp_path / "venv" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    (tmp_path / "environment").write_text(f"LANG=C\nPATH={python.parent}:/usr/bin\n")
    monkeypatch.setattr(image_path, "ENVIRONMENT", str(tmp_path / "environment"))
    monkeypatch.setattr(image_path, "_INSIDE", str(tmp_path))
    return str(python)


def test_a_system_python_in_place_of_the_images_own(own: str) -> None:
    assert image_path.hidden("python3", "/usr/bin/python3", SLURM) == own
    assert image_path.hidden("python3", None, SLURM) == own
    assert image_path.hint(LACKING, own).endswith(f'python = "{own}"')


def test_where_somebody_has_chosen_nothing_is_said(own: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert image_path.hidden("python3", own, SLURM) is None
    assert image_path.hidden("python3", "/opt/conda/bin/python3", SLURM) is None  # of a profile file, or activated
    assert image_path.hidden("/usr/bin/python3", "/usr/bin/python3", SLURM) is None
    assert image_path.hidden("python3", "/usr/bin/python3", {}) is None  # Docker: PATH is the image's
    assert image_path.hidden("python3", "/usr/bin/python3", {**SLURM, b"APPTAINER_CONTAINER": b"x"}) is None
    assert image_path.hint("CUDA out of memory", own) == "CUDA out of memory"
    assert image_path.hint(LACKING, None) == LACKING
    for text in ("", "PATH=/usr/local/bin:/usr/bin\n", "PATH=\n"):
        (tmp_path / "environment").write_text(text)
        assert image_path.hidden("python3", "/usr/bin/python3", SLURM) is None
    monkeypatch.setattr(image_path, "_INSIDE", "/no/container")
    assert image_path.hidden("python3", "/usr/bin/python3", SLURM) is None
