"""A job's directory that was copied and is run elsewhere: refused, before anything of the original is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.executors import standing as guards
from automodel_launch.plan import packaging
from tests.conftest import LIMIT_S
from tests.recipes.test_node_agent import ROOT

SCRIPT = "print('trained')\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's directory with its agent, as the launcher leaves it."""
    job, run = tmp_path / "runs" / "a.1", tmp_path / "runs" / "a"
    recipes = job / "code" / "recipes"
    recipes.mkdir(parents=True)
    for name in packaging.AGENT:
        source = ROOT / "recipes" / name
        shutil.copytree(source, recipes / name) if source.is_dir() else shutil.copy(source, recipes)
    (job / "code" / "train.py").write_text(SCRIPT)
    spec: dict[str, Any] = {
        **{"schema": 1, "job_id": "a.1", "run_name": "a", "job_dir": str(job), "run_dir": str(run)},
        **{"code_dir": str(job / "code"), "python": sys.executable, "launch": "python", "script": "train.py"},
        **{"args": [], "nnodes": 1, "nproc_per_node": 1, "rendezvous": {"id": "a.1", "port": None}, "env": {}},
        **{"setup_lines": [], "startup_commands": [], "secrets_file": None, "stop_grace_s": 5.0, "heartbeat_s": 1.0},
        **{"stop_with_parent": False, "stall_s": None, "backend": "none"},
    }
    (job / "agent.json").write_text(json.dumps(spec))
    return job


def _call(place: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "LAUNCH_"))}
    command = [sys.executable, str(place / "code" / "recipes" / "node_agent.py"), *args]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def _tree(folder: Path) -> dict[str, int]:
    """When each file was written; 0 for directories, whose time changes where Python leaves its byte code."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {str(path): path.stat().st_mtime_ns if path.is_file() else 0 for path in paths}


@pytest.mark.parametrize("verb", ["run", "finish", "begin"])
def test_a_copy_is_refused_and_the_original_untouched(job: Path, tmp_path: Path, verb: str) -> None:
    copy = tmp_path / "colleague" / "a.1"
    shutil.copytree(job, copy)
    before = _tree(job.parent)
    for place in (copy, job):  # whose agent it is, and about which order
        order = [verb, str((job if place is copy else copy) / ("agent.json" if verb == "run" else ""))]
        done = _call(place, *order)
        if verb == "begin":  # its lines end the script, and keep `finish` from being called
            assert (done.returncode, done.stdout) == (0, "trap - EXIT\nexit 2\n")
        else:
            assert done.returncode == 2
        assert f"{copy} is a copy" in done.stderr and str(job) in done.stderr
        assert "Traceback" not in done.stderr
    assert _tree(job.parent) == before


def test_one_whose_original_is_gone_makes_it_not_anew(job: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    job.rename(moved)
    done = _call(moved, "run", str(moved / "agent.json"))
    assert (done.returncode, job.exists()) == (2, False)
    assert "which is not there" in done.stderr


def test_another_path_to_the_same_directory_is_no_copy(job: Path, tmp_path: Path) -> None:
    other = tmp_path / "link"
    other.symlink_to(job.parent)
    done = _call(other / "a.1", "run", str(other / "a.1" / "agent.json"))
    assert done.returncode == 0, done.stderr
    assert "trained" in (job / "logs" / "rank-0.log").read_text()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_nor_is_a_bind_mount(job: Path, tmp_path: Path) -> None:
    other = tmp_path / "bound"
    other.mkdir()
    program = other / "code" / "recipes" / "node_agent.py"
    script = f'mount --bind "{job}" "{other}" && exec "{sys.executable}" "{program}" run "{other}/agent.json"'
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


def test_a_script_that_is_run_in_a_copy_ends_at_once(job: Path, tmp_path: Path) -> None:
    """Its lines name the original's agent, which cannot see from where it was started."""
    text = f"#!/bin/bash\nset -euo pipefail\n{guards.guard(str(job))}echo started\n"
    (job / "script").write_text(text)
    copy = tmp_path / "a 'copy'"
    shutil.copytree(job, copy)
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(job / "script", spool / "slurm_script")
    link = tmp_path / "link"
    link.symlink_to(job)
    for script, cwd, code in (
        (job / "script", tmp_path, 0),
        (Path("script"), job, 0),
        (link / "script", tmp_path, 0),
        (spool / "slurm_script", tmp_path, 0),
        (copy / "script", tmp_path, 2),
        (Path("script"), copy, 2),
    ):
        done = subprocess.run(["bash", str(script)], cwd=cwd, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (code, "" if code else "started\n"), script
        assert ("is a copy of" in done.stderr) is bool(code)
