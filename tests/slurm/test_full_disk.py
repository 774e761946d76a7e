"""A job root whose file system is really full, in the middle of a run: training, agents and batch script alike."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests.conftest import Checkout, TinyCorpus
from tests.slurm import learner
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import start
from tests.slurm.test_chain import Run, jobs_left
from tests.slurm.test_chain_pretrain import COMMAND, ENV, Pretraining, losses, same
from tests.slurm.test_pretrain_runs import prepared

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


class Disk:
    """A small file system that nodes and login node share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "somebody-elses"

    def fill(self, leave: int = 0) -> None:
        """To the last byte, or but for `leave` bytes."""
        with self._filler.open("ab", buffering=0) as file:
            while leave and (room := self._free() - leave) > 0:  # others write meanwhile
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.tell(), room)
                    return
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while not leave:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def _free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    path = Path(tempfile.mkdtemp(prefix="disk-", dir="/var/tmp"))  # a node has a /tmp of its own
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", path], check=True)
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
    run = Run(site(tmp_path, small, disk), "steps=60", "hold=7")
    run.reach(0, 7)
    run.go(7)
    # which the attempt's end would remove, and so make room for the next attempt's small checkpoints
    (run.dir / contract.between_agents("code", 0)).unlink()
    disk.fill()
    with (run.run_dir / "go").open("r+") as file:
        file.write("99")  # in its place, which takes no room
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


@pytest.mark.slow
@pytest.mark.train
@pytest.mark.timeout(900)
def test_no_room_for_automodels_checkpoint(tmp_path: Path, small: Cluster, disk: Disk, tiny_corpus: TinyCorpus) -> None:
    """Records fit, the next checkpoint does not: torch's words for it are no reason that a person could use."""
    site = prepared(tmp_path, small, ENV.replace('"low"', '"batch"'), tiny_corpus)
    env = site.root / "env.toml"
    env.write_text(env.read_text().replace(str(tmp_path / "jobs"), str(disk.path / tmp_path.name)))
    assert site.run(*COMMAND, "--run", "whole").returncode == 0
    expected = losses(Path(site.json("status", "last")["run_dir"]))
    run = Pretraining(site)
    run.reach(0, 12)
    disk.fill(leave=2_000_000)
    wait_until(lambda: not jobs_left(small, run), 180, "an empty queue")
    said = run.end(code=1)
    assert "no space left in" in said
    assert "disk full?" in said or "No space left on device" in said  # by the rank's own error
    disk.free()
    assert site.run("resume", run.id).returncode == 0
    run.end()
    same(losses(run.run_dir), expected)
