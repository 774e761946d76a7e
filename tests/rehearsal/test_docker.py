"""A rehearsal in a container of a real Docker engine: nothing is pulled, written into the mounts, or left."""

from __future__ import annotations

import json
import subprocess
import threading

import pytest

from tests.docker_engine import BASE, Engine
from tests.rehearsal.conftest import Stage, left

pytestmark = pytest.mark.e2e


@pytest.fixture
def docked(stage: Stage, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The profile `d`, whose containers the stand-in answers in."""
    for name, value in engine.env.items():
        monkeypatch.setenv(name, value)
    (stage.root / "data").mkdir()
    mounts = [f"{stage.root}/data:/data"]
    keys = f'nproc_per_node = 2\ngpus_per_node = 0\ncontainer_image = "{BASE}"\nmounts = {json.dumps(mounts)}'
    stage.bench.env(f'[d]\nexecutor = "docker"\n{keys}\nremote_job_dir = "{stage.root}/jobs"\n')
    return stage


@pytest.fixture
def before(docked: Stage) -> set[str]:
    """Containers that other tests of this engine have left."""
    return _containers()


def _containers() -> set[str]:
    done = subprocess.run(["docker", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


def test_in_a_container_of_the_image(docked: Stage, before: set[str]) -> None:
    plan = docked.bench.planned("log: /dev/stderr\nhow: passed\n", profile="d")
    first, again = (docked.rehearse(plan, submits=True) for _ in range(2))
    assert [found.code for found in first.findings] == ["rehearsal"], first.findings
    assert f"in a container of {BASE}" in first.findings[0].message
    assert (first.cached, again.cached) == (False, True)
    assert _containers() == before and left() == []


def test_an_image_that_is_not_here_is_not_pulled(docked: Stage) -> None:
    plan = docked.bench.planned("log: /dev/stderr\n", "run.env.container_image=no-such-image:1", profile="d")
    (note,) = docked.rehearse(plan, submits=True).findings
    assert note.code == "rehearsal-partial" and "no-such-image:1" in note.message


def test_what_hangs_goes_with_its_container(docked: Stage, before: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first of these times in which the container has begun."""
    monkeypatch.setattr("automodel_launch.rehearsal.script.GRACE_S", 2)
    seen, over = set[str](), threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.update(_containers() - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    for limit_s in (1, 10, 100):
        plan = docked.bench.planned("log: /dev/stderr\nhow: hangs\n", f"run.env.rehearse={limit_s}", profile="d")
        (note,) = docked.rehearse(plan, submits=True).findings
        assert note.code == "rehearsal-partial" and f"within {limit_s} s" in note.message
        if seen:
            break
    over.set()
    watcher.join()
    assert seen
    assert _containers() == before and left() == []
