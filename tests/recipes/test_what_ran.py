"""environment.json: what a job ran with, as its own Python and its nodes tell."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "recipes"))

from node_agent_lib import ran_with, what_ran

from tests.conftest import wait_for
from tests.ports import free_port
from tests.recipes.test_node_agent import MakeJob, eventually, make_job  # noqa: F401


def _file(job_dir: Path, name: str = "environment.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job_dir / name).read_text())
    return found


def _installed(folder: Path, name: str, version: str) -> Path:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_the_packages_are_those_of_importlib_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which parses whole descriptions: a wheel, an egg's directory, a distutils' file, and what is half removed."""
    described = "Metadata-Version: 2.1\nName: Of_distutils\nVersion: 2.0+local\n\nName: other\nVersion: 9\n"
    (tmp_path / "of_distutils-2.0.egg-info").write_text(described)
    (tmp_path / "of.egg-info").mkdir()
    (tmp_path / "of.egg-info" / "PKG-INFO").write_text("Name: of.egg\nSummary: Name: none\nVersion: 0.1\n")
    (tmp_path / "gone-1.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    expected: dict[str, str] = {}
    for found in metadata.distributions():
        with contextlib.suppress(FileNotFoundError):  # of what is half gone, by importlib_metadata's finder
            if name := found.metadata["Name"]:
                expected.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found.metadata["Version"])
    assert {name: version.partition(" (")[0] for name, version in ran_with.packages().items()} == expected
    assert (expected["of-distutils"], expected["of-egg"]) == ("2.0+local", "0.1")


def test_node_0_writes_it_and_another_node_only_what_it_has_differently(
    make_job: MakeJob,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A job that ends at once, with a token in its environment, and a node on which one package is another."""
    job = make_job("waits.py", tmp_path, "plain", nnodes=2, rendezvous={"id": "two", "port": free_port()})
    job.dir.mkdir(parents=True)
    (job.dir / "plan.json").write_text(json.dumps({"job_id": "job-1", "container_image": "img@sha256:12"}))
    job.environ = {"PYTHONPATH": str(_installed(tmp_path / "one", "wheel_of-ours", "1.0")), "MY_TOKEN": "hush-hush-1"}
    job.agent(node=0)
    job.environ["PYTHONPATH"] = str(_installed(tmp_path / "two", "wheel_of-ours", "1.1"))
    job.agent(node=1)
    eventually((job.dir / "environment-1.json").exists, "what node 1 has differently")
    seen, other = _file(job.dir), _file(job.dir, "environment-1.json")
    assert seen["packages"]["wheel-of-ours"] == "1.0"
    assert seen["packages"]["pytest"] == metadata.version("pytest")
    assert (seen["job_id"], seen["image"], seen["attempt"]) == ("job-1", "img@sha256:12", 0)
    assert (seen["kernel"], seen["host"]) == (os.uname().release, other["host"])
    assert other["has"] == {"packages": {"wheel-of-ours": "1.1"}}
    assert not list(job.dir.glob("environment-0*"))
    assert "hush" not in (job.dir / "environment.json").read_text()


def test_a_job_that_ends_at_once_has_it_and_nothing_is_left(make_job: MakeJob, tmp_path: Path) -> None:  # noqa: F811
    job = make_job("shows.py", tmp_path / "seen")
    assert job.run()[0] == 0
    assert _file(job.dir)["packages"]
    assert job.processes() == []


def test_one_that_is_told_to_end_before_its_python_has_begun_writes_it(tmp_path: Path) -> None:
    """As by the end of a job on a busy machine: it needs a moment only, and is killed where it takes longer."""
    python = tmp_path / "python"
    waits = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do :; done"
    python.write_text(f'#!/bin/sh\n{waits}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    agent = str(Path(what_ran.__file__).parents[1] / "node_agent.py")
    environ = {b"PATH": os.fsencode(os.environ["PATH"])}
    what_ran.start(str(python), agent, str(tmp_path), 0, 0, environ)
    pid = int(wait_for((tmp_path / "pid").read_text))
    os.kill(pid, signal.SIGTERM)
    (tmp_path / "go").touch()
    wait_for(lambda: (tmp_path / "environment.json").exists() or os.waitpid(pid, os.WNOHANG)[0])
    assert _file(tmp_path)["packages"]
    os.waitpid(pid, 0)


def test_what_an_earlier_attempt_had_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that is damaged, or another attempt's, stands in nobody's way."""
    had = {"python": "3.8.1", "packages": {"a": "1", "b": "1"}, "kernel": "k", "attempt": 0, "time": 1.0}
    monkeypatch.setattr(ran_with, "look", lambda: {"python": "3.8.1", "packages": {"a": "2", "c": "1"}, "kernel": "k"})
    file = tmp_path / "environment.json"
    file.write_text(json.dumps(had))
    assert what_ran.main(str(tmp_path), 0, 1) == 0
    earlier = {"attempt": 0, "time": 1.0, "had": {"packages": {"a": "1", "b": "1", "c": None}}}
    assert _file(tmp_path)["earlier"] == [earlier]
    assert what_ran.main(str(tmp_path), 0, 1) == 0
    assert len(_file(tmp_path)["earlier"]) == 1
    file.write_text("{")
    assert what_ran.main(str(tmp_path), 0, 2) == 0
    assert _file(tmp_path)["earlier"] == []


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Thu Feb 15\nGCC version: 12", "535.161.08"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build", "550.54.15"),
        ("", None),
    ],
)
def test_the_drivers_version(text: str, version: str | None) -> None:
    assert ran_with.driver(text) == version


def test_nccl_as_the_wheel_the_image_or_the_library_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glob.glob", lambda pattern: ["/usr/lib64/libnccl.so.2.21.5"] * ("lib64" in pattern))
    monkeypatch.setenv("NCCL_VERSION", "2.19.3-1")
    assert ran_with.nccl({"nvidia-nccl-cu12": "2.26.2"}) == "2.26.2"
    assert ran_with.nccl({}) == "2.19.3-1"
    monkeypatch.setenv("NCCL_VERSION", "a secret put there")
    assert ran_with.nccl({}) == "2.21.5"
