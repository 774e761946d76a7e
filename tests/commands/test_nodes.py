"""`nodes` and `image`: what can be said without a cluster."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.commands.conftest import Cli


@pytest.fixture
def root(launch: Cli, tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    launch.bench.env(f'[far]\nexecutor = "slurm"\nremote_job_dir = "{folder}"\ncontainer_image = "none"\n')
    return folder


def test_bad_nodes_are_listed_and_forgiven(launch: Cli, root: Path) -> None:
    entry = {"time": time.time(), "node": "n1", "why": "GPU lost", "job_id": "a.1"}
    (root / "bad-nodes.jsonl").write_text(json.dumps(entry) + '\n{"time": 1')  # and half a line of a killed writer
    assert launch("nodes", "far")[1].startswith("n1  since ")
    assert [row["node"] for row in json.loads(launch("nodes", "far", "--json")[1])] == ["n1"]
    launch.refused(2, ("nodes", "far", "--forgive", "n2"), "n2", "n1")
    code, out, err = launch("nodes", "far", "--forgive", "n1")
    assert (code, out) == (0, "")
    assert "no bad nodes" in err
    assert json.loads(launch("nodes", "far", "--json")[1]) == []


def test_a_profile_without_nodes(launch: Cli) -> None:
    launch.refused(2, ("nodes", "local"), "one node, this machine")


def test_images_of_a_profile_without_a_cache(launch: Cli, root: Path) -> None:
    launch.refused(2, ("image", "far", "list"), "image_cache is not set", "image_cache = ")
    launch.refused(2, ("image", "local", "list"), "has no effect with executor = 'local'")
    launch.refused(2, ("image", "local", "show"), "'show'", "import, list, remove")
