"""The launcher alone, installed by scripts/setup.sh --launcher, with the oldest and the newest Python it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import OVER_SSH, ROOT, clean_environ, make_checkout

TRAVELS = ("docs", "requirements", "scripts", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE")
OWN = ("tests/config", "tests/profile", "tests/jobs", "tests/executors/test_docker_plan.py")


def _python(version: str) -> str | None:
    """One that works: pyenv's are often there, and its links to them are not always for use."""
    homes = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*"))
    for path in (shutil.which(f"python{version}"), *(str(home / "bin" / "python") for home in homes)):
        if path and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def _say(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.e2e
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["3.10", "3.13", pytest.param("3.12", marks=pytest.mark.slow)])
def test_the_launcher_is_installed_tested_and_used(version: str, tmp_path: Path) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    checkout = make_checkout(tmp_path / "checkout")
    for name in TRAVELS:
        shutil.copytree(ROOT / name, checkout.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, checkout.root)

    def done(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environ = {**clean_environ(), **more}
        return subprocess.run(words, cwd=checkout.root, env=environ, capture_output=True, text=True, check=False)

    made = done("bash", "scripts/setup.sh", "--launcher", PYTHON=python)
    assert made.returncode == 0, made.stderr[-2000:]
    own = str(checkout.root / ".venv" / "bin" / "python")
    assert version in done(own, "--version").stdout
    again = done("bash", "scripts/setup.sh", "--launcher", PYTHON=python)
    assert (again.returncode, again.stderr) == (0, "")
    # Byte code is there of what the launcher imports, and of nothing that it has no use for.
    (packages,) = (checkout.root / ".venv").glob("lib/*/site-packages")
    written = {path.relative_to(packages).parts[0] for path in packages.rglob("*.pyc")}
    assert "nemo_run" in written and not written & {"leptonai", "libcst", "networkx"}, written

    with (checkout.root / "env.toml").open("a") as file:
        file.write(f"[over-ssh]{OVER_SSH}")
    dry = done(own, "launch.py", "pretrain", "-c", "tiny", "--dry-run", "--offline", "--batch", "over-ssh")
    assert (dry.returncode, "#SBATCH --partition=batch" in dry.stdout) == (0, True), dry.stderr
    run = done(own, "launch.py", "stub-one", "value=there")
    assert (run.returncode, "value there" in run.stdout) == (0, True), run.stderr
    pip = [own, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-c", "requirements/constraints.txt"]
    assert done(*pip, "--no-compile", "pytest", "pytest-timeout").returncode == 0
    tests = done(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "own"), *OWN)
    assert tests.returncode == 0, tests.stdout[-3000:]
    shutil.rmtree(checkout.root / ".venv")  # half a GB


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "is Python 3.10; it has to be one of 3.11, 3.12"),
        (("--dev",), "is Python 3.10; it has to be one of 3.11, 3.12"),
        (("--lancher",), "unknown option --lancher; there are --dev, --launcher, --trackers and --bridge"),
    ],
)
def test_setup_refuses_what_it_cannot_install(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.10\n")
    python.chmod(0o755)
    command = ["bash", "scripts/setup.sh", *options]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**clean_environ(), "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert words in _say(done.stderr)
    assert not (tmp_path / ".venv").exists()
