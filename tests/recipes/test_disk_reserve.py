"""Space on the job's disk: the reserve, and whether a further attempt could save anything."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import backends, disk_reserve, files
from node_agent_lib.error_line import error_line

BACKEND = backends.get("automodel")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
ERROR = "OSError: [Errno 28] No space left on device"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_reserve, "PATIENCE_S", 0.0)


def checkpoint(folder: Path, step: int, size: int, complete: bool = True) -> None:
    path = folder / f"epoch_0_step_{step}" / "model"
    path.mkdir(parents=True)
    (path / "shard").write_bytes(b"x" * size)
    if not complete:
        (path.parent / ".incomplete").touch()


def space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=1))


def test_the_reserve_makes_space_for_what_has_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_reserve.keep(str(tmp_path))
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [4 << 20]
    real = os.fsync

    def fsync(fd: int) -> None:
        if (tmp_path / ".reserve").exists():
            raise FULL
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "_release", [lambda: disk_reserve.release(str(tmp_path))])
    with pytest.raises(OSError, match="No space"):  # a heartbeat is not worth it
        files.write_json(str(tmp_path / "nodes.json"), {})
    files.write_json(str(tmp_path / "exit.json"), {"code": 1}, patience_s=5.0)
    assert [path.name for path in tmp_path.iterdir()] == ["exit.json"]
    assert not disk_reserve.release(str(tmp_path))


def test_a_disk_without_space_for_a_reserve_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_fd: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", fsync)
    assert "Disk quota exceeded" in str(disk_reserve.wait(str(tmp_path), BACKEND, None, None))
    assert list(tmp_path.iterdir()) == []
    said: list[str] = []
    disk_reserve.keep_if_possible(str(tmp_path), said.append)
    assert "no space for a reserve" in said[0]


def test_space_for_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path, 9, 5_000_000)
    checkpoint(tmp_path, 19, 7_000_000)
    checkpoint(tmp_path, 29, 3_000_000, complete=False)  # is written over
    assert disk_reserve.needed_for_a_save(BACKEND, str(tmp_path)) == 4_000_000
    space(monkeypatch, 3_900_000)
    said = disk_reserve.wait(str(tmp_path), BACKEND, str(tmp_path), ERROR)
    assert said == f"no space left in {tmp_path}: a checkpoint takes 4.0 MB, 3.9 MB are free"
    assert disk_reserve.wait(str(tmp_path), BACKEND, str(tmp_path), "ValueError: no more data") is None
    space(monkeypatch, 4_000_000)
    assert disk_reserve.wait(str(tmp_path), BACKEND, str(tmp_path), ERROR) is None


def test_before_the_first_checkpoint_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path, 9, 100, complete=False)
    space(monkeypatch, 0)
    assert disk_reserve.wait(str(tmp_path), BACKEND, str(tmp_path), ERROR) is None
    assert disk_reserve.wait(str(tmp_path), BACKEND, None, ERROR) is None


def test_what_torch_makes_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_checkpoint = pytest.importorskip("torch.distributed.checkpoint.api")
    torn = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    for cause in (FULL, torn):
        error = torch_checkpoint.CheckpointException("", {1: (cause, None), 0: (cause, None)})
        line = error_line(error)
        assert line.endswith("(CheckpointException, 2 ranks, the first is 0)")
        space(monkeypatch, 0)
        checkpoint(tmp_path / type(cause).__name__, 9, 10)
        missing = disk_reserve.wait(str(tmp_path), BACKEND, str(tmp_path / type(cause).__name__), line)
        assert "no space left" in str(missing)
