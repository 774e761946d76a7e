"""Where an installation's files are, and which env.toml counts."""

from __future__ import annotations

import os
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


def _unwritable(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Root may write everywhere, so that permissions alone show nothing."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in folders and real(path, mode))


def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "shared"
    (root / "recipes").mkdir(parents=True)
    (root / "recipes" / "node_agent.py").touch()
    monkeypatch.setattr(workspace, "PACKAGE", root / "automodel_launch")
    return root


def test_a_checkout_that_can_be_written_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _checkout(tmp_path, monkeypatch)
    here = workspace.find()
    assert (here.records, here.runs, here.data) == (root / ".launch" / "jobs", root / "runs", root / "data")
    assert here.elsewhere is None
    assert not (root / ".launch").exists()


def test_one_that_cannot_keeps_them_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _checkout(tmp_path, monkeypatch)
    _unwritable(monkeypatch, root)
    state = tmp_path / "state"
    here = workspace.find(environ={"XDG_STATE_HOME": str(state)})
    assert here.elsewhere is not None and here.elsewhere.parent == state / "automodel-launch"
    assert (here.records, here.runs) == (here.elsewhere / ".launch" / "jobs", here.elsewhere / "runs")
    assert here.data == here.elsewhere / "data"
    assert (here.recipes, here.env_file.parent) == (root / "recipes", root)
    (root / "data").mkdir()
    assert here.data == root / "data", "what is prepared for everybody"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for odd in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        found = workspace.find(environ=odd).elsewhere
        assert found is not None and found.is_relative_to(tmp_path / "home" / ".local" / "state")


def test_records_that_are_this_users_own_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _checkout(tmp_path, monkeypatch)
    _unwritable(monkeypatch, root)
    (root / ".launch").mkdir()
    assert workspace.find().elsewhere is None
