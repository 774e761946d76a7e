"""A job root whose file system is really full, in the middle of a run: training, agents and batch script alike."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import start
from tests.slurm.test_chain import Run, jobs_left

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


class Disk:
    """A small file system that nodes and login node share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "somebody-elses"

    def fill(self) -> None:
        """To the last byte, and again whatever is freed meanwhile by those who make room for themselves."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    path = Path(tempfile.mkdtemp(prefix="disk-", dir="/var/tmp"))  # a node has a /tmp of its own
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", path], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, disk: Disk) -> Iterator[Cluster]:
    """2 nodes that see the disk, as all that was mounted before they started."""
    yield from start(tmp_path_factory, "--nodes", "2")


def site(root: Path, small: Cluster, disk: Disk) -> Checkout:
    checkout = learner.site(root, small)
    env = checkout.root / "env.toml"
    env.write_text(env.read_text().replace(str(root / "jobs"), str(disk.path / root.name)))
    return checkout


@pytest.mark.slow
def test_space_comes_back(tmp_path: Path, small: Cluster, disk: Disk) -> None:
    run = Run(site(tmp_path, small, disk), "steps=60")
    run.reach(0, 7)
    first = run.attempt(0)
    disk.fill()
    small.wait_for(first)
    disk.free()
    said = run.end()
    run.check(most_lost=2 * 5)
    assert "No space left" in said
    assert run.states()[0] == "FAILED"
    assert run.states()[-1] == "COMPLETED"
    assert jobs_left(small, run) == []


def test_it_stays_full(tmp_path: Path, small: Cluster, disk: Disk) -> None:
    run = Run(site(tmp_path, small, disk), "steps=60")
    run.reach(0, 7)
    disk.fill()
    wait_until(lambda: not jobs_left(small, run), 180, "an empty queue")
    said = run.end(code=1)
    assert "No space left" in said
    assert f"no space left in {run.dir}" in said
    assert run.site.json("status", run.id)["state"] == "FAILED"
    for path in [*run.dir.rglob("*.json*"), *run.run_dir.glob("*.json*")]:  # all records are whole
        text = path.read_text()
        assert [json.loads(part) for part in (text.splitlines() if path.suffix == ".jsonl" else [text])], path
    disk.free()
    assert run.site.run("resume", run.id).returncode == 0
    run.end()
    run.check(most_lost=2 * 5)
