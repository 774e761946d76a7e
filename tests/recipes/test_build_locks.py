"""A start waits for no lock whose holder is gone, and takes no compiled file that is damaged or somebody else's."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.pretrain_fixtures import ROOT
from tests.recipes.test_node_agent import eventually

sys.path.insert(0, str(ROOT / "recipes"))

from pretrain_lib import data_helper, file_locks, own_files
from pretrain_lib.data_helper import NAME, HelperCache

SOURCE = f"""
#include <Python.h>
static struct PyModuleDef it = {{PyModuleDef_HEAD_INIT, "{NAME}", 0, -1, 0}};
PyMODINIT_FUNC PyInit_{NAME}(void) {{ return PyModule_Create(&it); }}
"""


class Compiler:
    """Makes a module that holds nothing, in a blink, and counts."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, directory: Path) -> ModuleType:
        self.runs += 1
        source, built = directory / "main.c", directory / f"{NAME}.so"
        source.write_text(SOURCE)
        include = f"-I{sysconfig.get_paths()['include']}"
        subprocess.run(["cc", "-shared", "-fPIC", include, str(source), "-o", str(built)], check=True)
        module = data_helper._imported(built)
        assert module is not None
        return module


@pytest.fixture
def cache(tmp_path: Path) -> HelperCache:
    return HelperCache(tmp_path / "node" / "launch-1", tmp_path / "root" / "cache" / "1", "cc1", Compiler())


def another_node(cache: HelperCache, tmp_path: Path, compiler: str | None = "cc1") -> HelperCache:
    return HelperCache(tmp_path / "node2" / "launch-1", cache.shared, compiler, Compiler())


def files(directory: Path | None) -> list[Path]:
    return sorted(directory.glob("*.so")) if directory else []


# the helper's places


def test_it_is_compiled_once_for_a_job_root_and_copied_to_further_nodes(cache: HelperCache, tmp_path: Path) -> None:
    assert cache.load().__name__ == NAME
    assert cache.load().__name__ == NAME
    second = another_node(cache, tmp_path)
    assert second.load().__name__ == NAME
    assert (cache.build.runs, second.build.runs) == (1, 0)  # type: ignore[attr-defined]
    assert [path.name for path in files(second.node)] == [path.name for path in files(cache.node)]
    assert {path.stat().st_mode & 0o777 for path in (*files(cache.node), *files(cache.shared))} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (cache.node, second.node, cache.shared)} == {0o700}  # type: ignore[union-attr]
    assert list(cache.node.glob("building-*")) == []


def test_a_job_root_that_is_new_gets_the_nodes(cache: HelperCache, tmp_path: Path) -> None:
    HelperCache(cache.node, None, cache.compiler, cache.build).load()
    cache.load()
    assert [path.name for path in files(cache.shared)] == [path.name for path in files(cache.node)]
    assert cache.build.runs == 1  # type: ignore[attr-defined]


def test_another_compilers_is_not_taken_but_where_there_is_no_compiler(cache: HelperCache, tmp_path: Path) -> None:
    cache.load()
    other = another_node(cache, tmp_path, "cc2")
    other.load()
    none = HelperCache(tmp_path / "node3", cache.shared, None, Compiler())
    none.load()
    assert (other.build.runs, none.build.runs) == (1, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["node", "shared"])
def test_a_damaged_one_is_told_removed_and_made_again(
    cache: HelperCache, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    cache.load()
    (path,) = files(getattr(cache, place))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = cache if place == "node" else another_node(cache, tmp_path)
    again.load()
    assert f"{path} is damaged" in capsys.readouterr().out
    assert [found.read_bytes() for found in files(again.node)] == [whole]


@pytest.mark.parametrize("place", ["node", "shared"])
def test_one_that_others_may_write_is_never_taken(
    cache: HelperCache, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    cache.load()
    (path,) = files(getattr(cache, place))
    path.chmod(0o666)
    again = cache if place == "node" else another_node(cache, tmp_path)
    again.load()
    assert "can be written by others (mode 666)" in capsys.readouterr().out
    assert again.build.runs == 1  # type: ignore[attr-defined]


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file to another user")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_another_users_is_never_taken(
    cache: HelperCache, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    cache.load()
    shared = cache.shared
    assert shared is not None
    os.chown(files(shared)[0] if what == "file" else shared, 12345, 12345)
    second = another_node(cache, tmp_path)
    second.load()
    assert "belongs to uid 12345" in capsys.readouterr().out
    assert second.build.runs == 1  # type: ignore[attr-defined]


@pytest.mark.skipif(os.getuid() != 0, reason="gives a directory to another user")
def test_a_node_directory_of_another_user_is_gone_round(cache: HelperCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.node.mkdir(parents=True)
    os.chown(cache.node, 12345, 12345)
    assert cache.load().__name__ == NAME
    assert f"{cache.node} belongs to uid 12345" in capsys.readouterr().out
    assert list(cache.node.iterdir()) == []


def test_a_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic"):
        own_files.read_own(tmp_path / "link")
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(own_files.Refused, match="not a directory"):
        own_files.private_directory(tmp_path / "linked")


# locks


def test_torchs_own_lock_is_never_released_after_a_kill(tmp_path: Path) -> None:
    """Why there is a KernelBaton. If this fails, torch has mended it. In a process that has not replaced torch's."""
    (tmp_path / "lock").touch()
    asks = "import sys; from torch.utils.file_baton import FileBaton; print(FileBaton(sys.argv[1]).try_acquire())"
    command = [sys.executable, "-c", asks, str(tmp_path / "lock")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


HOLDS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pretrain_lib.file_locks import KernelBaton
baton = KernelBaton(sys.argv[2] + "/lock")
assert baton.try_acquire()
print("held", flush=True)
time.sleep(600)
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    """A process that compiles for ever, once it has the lock."""
    command = [sys.executable, "-c", HOLDS, str(ROOT / "recipes"), str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_whose_holder_was_killed_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path)
    baton = file_locks.KernelBaton(str(tmp_path / "lock"))
    assert not baton._try(), "its holder lives"
    process.kill()
    process.wait()
    assert (tmp_path / "lock").exists(), "a kill leaves it"
    assert baton.try_acquire()
    baton.release()
    assert not (tmp_path / "lock").exists()


def test_a_lock_of_torchs_own_is_waited_for_until_it_is_old_and_nobody_has_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    baton = file_locks.KernelBaton(str(lock))
    assert not baton._try()
    long_ago = time.time() - 7200
    os.utime(lock, (long_ago, long_ago))
    with subprocess.Popen(["sleep", "600"], stdin=lock.open("rb")) as process:
        assert not baton._try(), "a process has it open"
        process.kill()
    assert baton._try()
    baton.release()


def test_automodels_locks_are_cleared_where_nobody_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("left", "used"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    with (tmp_path / "used" / "compile.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        file_locks.clear_left_behind(tmp_path)
        assert not (tmp_path / "left" / "lock").exists()
        assert (tmp_path / "used" / "lock").exists()
    assert f"removed {tmp_path}/left/lock" in capsys.readouterr().out


def test_who_waits_for_a_living_process_says_so(tmp_path: Path) -> None:
    path = tmp_path / "launch.lock"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from pretrain_lib import file_locks\n"
        "with file_locks.held(Path(sys.argv[2]), 'it compiles'): print('had it', flush=True)"
    )
    told = tmp_path / "phase"
    with path.open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(ROOT / "recipes"), str(path)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "RANK": "0", "LAUNCH_PHASE_FILE": str(told)},
        )  # fmt: skip
        eventually(lambda: told.exists() and "waiting for another process: it compiles" in told.read_text(), "phase")
    said, _ = process.communicate(timeout=LIMIT_S)
    assert said.splitlines() == [f"waiting for another process: it compiles (it holds {path})", "had it"]


# AutoModel itself, and a real SIGKILL

AUTOMODEL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nemo_automodel.components.datasets.llm.megatron import megatron_utils
import nemo_automodel.components.datasets.llm.megatron_dataset as dataset
megatron_utils._HELPER_CACHE_ROOT = Path(sys.argv[2])
from pretrain_lib import data_helper
data_helper.install()
helper = dataset.compile_helper()
from nemo_automodel.components.datasets.llm.megatron import helpers
import numpy
print("loaded", hasattr(helper, "build_sample_idx_int32"), helpers.compile_helper is dataset.compile_helper)
"""


def automodel(root: Path, job_dir: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", AUTOMODEL, str(ROOT / "recipes"), str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={
            **os.environ, "RANK": "0", "LAUNCH_JOB_DIR": str(job_dir),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environ,
        },
    )  # fmt: skip


@pytest.mark.slow
def test_a_training_killed_while_it_compiles_holds_up_nobody(tmp_path: Path) -> None:
    """A real SIGKILL of AutoModel's start in the middle of the compiler; then AutoModel's own lock beside it."""
    node, jobs = tmp_path / "node", tmp_path / "jobs"
    slow = tmp_path / "c++"
    asked = 'case "$*" in *--version*|*-dump*|*-v*) exec c++ "$@";; esac'
    slow.write_text(f"#!/bin/sh\n{asked}\ntouch {tmp_path}/on\nsleep 600\n")
    slow.chmod(0o755)
    killed = automodel(node, jobs / "a.1", CXX=str(slow))
    eventually((tmp_path / "on").exists, "the compiler")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    left = next(node.glob("launch-*"))
    assert list(left.glob("building-*/lock")), "what AutoModel would wait for, had it compiled there"
    (node / "0a1b").mkdir()
    (node / "0a1b" / "lock").touch()
    second = automodel(node, jobs / "a.2")
    said, _ = second.communicate(timeout=300)
    assert said.splitlines()[-1] == "loaded True True", said
    assert f"removed {node}/0a1b/lock" in said
    third = automodel(tmp_path / "node2", jobs / "a.3")
    said, _ = third.communicate(timeout=300)
    assert said.splitlines()[-1] == "loaded True True", said
    assert "compiling" not in said, "the job root has it"
