"""What is found out about the place where a job will run: a login node, an engine of Docker, this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.plan.plan import Plan
from tests.faults import launches
from tests.faults.launches import Launch, Stage
from tests.workbench import Bench, make_bench


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return launches.share(tmp_path_factory.mktemp("places"))


def _found(shared: tuple[Path, Path], code: str, launch: Launch) -> list[Finding]:
    found = launches.check(launch, Stage(shared[0].parent / launch.name, *shared))
    assert isinstance(found, list), found
    return [finding for finding in found if finding.code == code]


def test_an_agent_python_that_the_login_node_has_not(shared: tuple[Path, Path]) -> None:
    lacking = Launch("lacking", profile="site", keys='agent_python = "/none/python3.11"\n')
    (finding,) = _found(shared, "agent-python", lacking)
    assert finding.level == "warning" and "agent_python" in finding.message and "/none/python3.11" in finding.message
    assert str(finding.fix).startswith('agent_python = "')
    there = Launch("there", profile="site", keys=f'agent_python = "{sys.executable}"\n')
    assert _found(shared, "agent-python", there) == []
    assert _found(shared, "agent-python", Launch("unsaid", profile="site")) == []


def test_a_container_runtime_that_the_login_node_has_not(shared: tuple[Path, Path]) -> None:
    keys = 'container_image = "docker://ubuntu:22.04"\ncontainer_runtime = "{}"\n'
    (finding,) = _found(shared, "no-apptainer", Launch("a", profile="site", keys=keys.format("/none/apptainer")))
    assert finding.level == "warning" and "container_runtime = /none/apptainer" in finding.message


@pytest.mark.parametrize(
    ("nodes", "place", "level"), [(2, "/dev/shm/i", "warning"), (1, "/dev/shm/i", None), (2, "", None)]
)
def test_a_directory_of_one_node_for_several(
    shared: tuple[Path, Path], nodes: int, place: str, level: str | None
) -> None:
    changed = (f"dataset.index_mapping_dir={place}",) if place else ()
    name = f"shared-{nodes}-{bool(place)}"
    launch = Launch(name, profile="site", overrides=(f"run.env.nodes={nodes}", *changed))
    assert [finding.level for finding in _found(shared, "not-shared", launch)] == ([level] if level else [])


def test_a_compiler_is_looked_for_where_the_training_compiles(shared: tuple[Path, Path], tmp_path: Path) -> None:
    (finding,) = _found(shared, "no-compiler", Launch("bare", environ={"PATH": str(tmp_path)}))
    assert finding.level == "error" and "C++ compiler" in finding.message
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert _found(shared, "no-compiler", Launch("gcc", environ={"PATH": str(tmp_path)})) == []


@pytest.mark.parametrize(("version", "told"), [("0.8.0", ["note"]), ("0.7.0", [])])
def test_another_release_of_the_framework_is_told(tmp_path: Path, version: str, told: list[str]) -> None:
    bench = make_bench(tmp_path).trains()
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps([[3, 11, 0], {'nemo-automodel': version}])}'\n")
    python.chmod(0o755)
    bench.env(f'[other]\nextends = "local"\npython = "{python}"\n')
    found = [f for f in checks.run(bench.plan(profile="other"), offline=True) if f.code == "other-version"]
    assert [finding.level for finding in found] == told
    assert all("0.8.0" in finding.message and "0.7.0" in finding.message for finding in found)


# --- Docker, whose engine answers through a command of its name


@pytest.fixture
def boxed(tmp_path: Path) -> Plan:
    bench: Bench = make_bench(tmp_path)
    bench.env('[box]\nexecutor = "docker"\ncontainer_image = "acme/train:1"\ngpus_per_node = 0\nnproc_per_node = 1\n')
    return bench.plan(profile="box")


def _engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f"#!/bin/sh\n{text}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")


def _codes(plan: Plan) -> dict[str, Finding]:
    return {finding.code: finding for finding in checks.run(plan)}


def test_no_engine_answers(boxed: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(tmp_path, monkeypatch, 'echo "Cannot connect to the Docker daemon" >&2; exit 1')
    found = _codes(boxed)["no-docker"]
    assert found.level == "error" and "Cannot connect to the Docker daemon" in found.message


def test_an_image_that_is_not_here_is_pulled(boxed: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(tmp_path, monkeypatch, 'case "$1" in version) echo 27.0;; image) echo "No such image" >&2; exit 1;; esac')
    found = _codes(boxed)
    assert found["image-pulled"].level == "note" and "acme/train:1" in found["image-pulled"].message
    assert "no-docker" not in found and "image" not in found
    _engine(tmp_path, monkeypatch, 'case "$1" in version) echo 27.0;; image) echo sha256:abc;; esac')
    found = _codes(boxed)
    assert "sha256:abc" in found["image"].message and "image-pulled" not in found


@pytest.mark.parametrize(("host", "elsewhere"), [("ssh://me@far", True), ("unix:///run/docker.sock", False)])
def test_an_engine_of_another_machine(
    boxed: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, elsewhere: bool
) -> None:
    _engine(tmp_path, monkeypatch, "echo 27.0")
    monkeypatch.setenv("DOCKER_HOST", host)
    found = _codes(boxed)
    assert ("engine-elsewhere" in found) == elsewhere
    assert not elsewhere or (found["engine-elsewhere"].level == "error" and host in found["engine-elsewhere"].message)
