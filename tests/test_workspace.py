"""Where an installation's files are, and which env.toml counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import workspace
from automodel_launch.errors import ProfileError
from tests.conftest import ROOT
from tests.workbench import refused


def test_the_environment_is_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env, other = tmp_path / "env.toml", tmp_path / "other.toml"
    env.touch()
    other.touch()
    monkeypatch.setenv("LAUNCH_ENV", str(env))
    assert workspace.find().env_file == env
    assert workspace.find(environ={}).env_file == ROOT / "env.toml"
    assert workspace.find(environ={"LAUNCH_ENV": str(other)}).env_file == other
    assert workspace.find(str(env), environ={"LAUNCH_ENV": str(other)}).env_file == env


def test_a_file_that_is_not_there_names_who_asked_for_it(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.toml")
    refused(ProfileError, lambda: workspace.find(gone, {}), f"--env {gone}")
    refused(ProfileError, lambda: workspace.find(None, {"LAUNCH_ENV": gone}), f"LAUNCH_ENV {gone}")
