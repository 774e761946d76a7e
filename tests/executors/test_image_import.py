"""The script that imports an image to a cluster's cache, as a node runs it; `enroot` is the test's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from automodel_launch.executors.containers import image_cache, images
from tests.conftest import LIMIT_S

IMAGE = images.read("reg.io/team/image:1", "test")
NAME = "reg.io+team+image+1.sqsh"
ENROOT = """#!/bin/bash
cat /proc/self/fd/9 2>/dev/null && echo "the lock is enroot's, too" >&2 && exit 3
printf hsqs > "$3"
if [ -e {here}/slow ]; then touch {here}/begun; while [ -e {here}/slow ]; do sleep 0.05; done; fi
cat {here}/words >&2 2>/dev/null && exit 1
printf 'an image' >> "$3"
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start an import into tmp_path/cache, in a process group of its own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "enroot").write_text(ENROOT.replace("{here}", str(tmp_path)))
    (tmp_path / "bin" / "enroot").chmod(0o755)
    script = image_cache.import_script(str(tmp_path / "cache"), IMAGE)

    def _start(path: str = os.environ["PATH"]) -> subprocess.Popen[str]:
        environ = {**os.environ, "PATH": f"{tmp_path}/bin:{path}"}
        return subprocess.Popen(["bash", "-c", script], env=environ, stderr=-1, text=True, start_new_session=True)

    return _start


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _left(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").iterdir()}


def test_a_killed_import_leaves_no_lock_to_the_next_which_clears_up(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    (tmp_path / "slow").touch()
    killed = start()
    _until((tmp_path / "begun").exists)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (part,) = (tmp_path / "cache").glob(".*.part.sqsh")
    for path in (part, *(tmp_path / "cache").glob(".*.part.sqsh.log")):
        os.utime(path, (1e9, 1e9))
    (tmp_path / "cache" / f".{NAME}.8.part.sqsh").write_text("of an import that lives, on a node without our locks")
    (tmp_path / "slow").unlink()
    again = start()
    assert "waiting" not in again.communicate(timeout=LIMIT_S)[1] and again.returncode == 0
    assert _left(tmp_path) == {NAME, f"{NAME}.info", f".{NAME}.8.part.sqsh"}
    assert (tmp_path / "cache" / NAME).read_text() == "hsqsan image"


def test_one_import_waits_for_another_and_says_so(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    (tmp_path / "slow").touch()
    first = start()
    _until((tmp_path / "begun").exists)
    others = [start(), start()]
    for other in others:
        assert other.stderr and "waiting for another import of it" in other.stderr.readline()
    (tmp_path / "slow").unlink()
    assert [process.wait(LIMIT_S) for process in (first, *others)] == [0, 0, 0]
    assert _left(tmp_path) == {NAME, f"{NAME}.info"}


def test_a_file_system_without_locks(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    """Lustre that is mounted without `flock`."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "flock").write_text("#!/bin/sh\necho 'flock: 9: Function not implemented' >&2; exit 69\n")
    (tmp_path / "none" / "flock").chmod(0o755)
    process = start(f"{tmp_path}/none:{os.environ['PATH']}")
    said = process.communicate(timeout=LIMIT_S)[1]
    assert process.returncode == 0, said
    assert {NAME, f"{NAME}.info"} <= _left(tmp_path)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("[ERROR] URL https://reg.io/v2/x returned error code: 404 Not Found", "no image of that name and tag"),
        ("[ERROR] URL https://reg.io/v2/x returned error code: 401 Unauthorized", ".credentials"),
        ("curl: (6) Could not resolve host: reg.io", "cannot reach the registry"),
        ("Write failed because No space left on device", "is full"),
        ("something else", "see the words above (exit code 1)"),
    ],
)
def test_why_an_import_has_failed(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], words: str, advice: str
) -> None:
    (tmp_path / "words").write_text(f"[INFO] Querying registry\n{words}\n")
    process = start()
    assert words in process.communicate(timeout=LIMIT_S)[1]
    assert advice in image_cache.advice(process.returncode)
    assert _left(tmp_path) == set()


def test_without_enroot_a_partition_that_has_it_is_advised(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    (tmp_path / "bin" / "enroot").unlink()
    process = start()
    assert "enroot is not installed on" in process.communicate(timeout=LIMIT_S)[1]
    assert "build_partition" in image_cache.advice(process.returncode)
    assert "srun" in image_cache.advice(127)
