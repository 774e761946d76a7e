"""What a rehearsal never does: network, commands, writing elsewhere, secrets; and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.rehearse.cases import Stage
from tests.recipes.rehearse.forks import Forks, forked, until

SCRIPT = str(Path(__file__).parents[3] / "recipes" / "rehearse.py")
SECRET = "hf_zzzSECRETzzz"


def _guarded(tmp_path: Path, function: Callable[[], Any]) -> Any:
    from rehearse_lib import guard

    def run() -> Any:
        guard.install(tmp_path.resolve())
        return function()

    return forked(run)


TRIES: dict[str, Callable[[Path], Any]] = {
    "connect": lambda at: socket.create_connection(("127.0.0.1", 9)),
    "a name": lambda at: socket.getaddrinfo("example.org", 80),
    "listen": lambda at: socket.socket().bind(("127.0.0.1", 0)),
    "a command": lambda at: subprocess.run(["true"], check=True),
    "a shell": lambda at: os.system("true"),
    "another program": lambda at: os.execv("/bin/true", ["true"]),
    "a process": lambda at: os.fork(),
    "a file": lambda at: (at / "new").write_text("x"),
    "the end of a file": lambda at: (at / "old").open("a"),
    "a directory": lambda at: (at / "folder").mkdir(),
    "another name": lambda at: (at / "old").rename(at / "new"),
    "its end": lambda at: (at / "old").unlink(),
    "its mode": lambda at: (at / "old").chmod(0o777),
    "a link": lambda at: (at / "link").symlink_to(at / "old"),
    "a signal": lambda at: os.kill(os.getppid(), signal.SIGTERM),
}


@pytest.mark.parametrize("what", TRIES)
def test_it_is_kept_from(what: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "scratch", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "old").write_text("old")
    said = _guarded(inside, lambda: TRIES[what](outside))
    assert str(said).startswith("raised Forbidden: a rehearsal "), said
    assert [path.name for path in outside.iterdir()] == ["old"]


def test_inside_its_directory_it_may_write_and_not_through_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "scratch", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "way-out").symlink_to(outside)

    def write() -> str:
        (inside / "folder").mkdir()
        (inside / "folder" / "file").write_text("x")
        (inside / "folder" / "file").unlink()
        (inside / "way-out" / "file").write_text("x")
        return "written"

    assert str(_guarded(inside, write)).startswith("raised Forbidden")
    assert not list(outside.iterdir())


def test_code_that_tries_is_a_note_and_no_refusal(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    code = tmp_path / "mine"
    code.mkdir()
    (code / "lossy.py").write_text("import os\ndef make(**k):\n    os.system('touch /tmp/never')\n    return None\n")
    changed = ("loss_fn", {"_target_": "lossy.make"})
    found = forks.rehearse(stage.request(changed, code=[str(code)]))
    assert (found["outcome"], found["partial"][0]["reason"]) == ("partial", "forbidden"), found


def test_a_process_that_dies_is_refused(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    code = tmp_path / "mine"
    code.mkdir()
    (code / "deadly.py").write_text("import ctypes\ndef make(**k):\n    return ctypes.string_at(0)\n")
    refusal = forks.rehearse(stage.request(("loss_fn", {"_target_": "deadly.make"}), code=[str(code)]))["refusal"]
    assert (refusal["type"], refusal["key"]) == ("SIGSEGV", "loss_fn"), refusal


def test_memory_beyond_the_limit_is_a_note(forks: Forks, stage: Stage, tmp_path: Path) -> None:
    code = tmp_path / "mine"
    code.mkdir()
    (code / "greedy.py").write_text("def make(**k):\n    return bytearray(12 << 30)\n")
    found = forks.rehearse(stage.request(("loss_fn", {"_target_": "greedy.make"}), code=[str(code)]))
    assert (found["outcome"], found["partial"][0]["reason"]) == ("partial", "memory"), found


def _start(content: dict[str, Any], tmp: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "TMPDIR": str(tmp), "HF_TOKEN": SECRET}
    process = subprocess.Popen(
        [sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environ,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"schema": 1, **content}))
    process.stdin.close()
    process.stdin = None
    return process


def _processes(word: str) -> list[Path]:
    """Processes that have a word in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word.encode() in path.read_bytes():
                found.append(path.parent)
        except OSError:
            continue
    return found


def test_the_whole_of_it_as_the_launcher_starts_it(stage: Stage, tmp_path: Path) -> None:
    leaks = ("loss_fn", {"_target_": "leaky.make"})
    code = tmp_path / "mine"
    code.mkdir()
    (code / "leaky.py").write_text(
        "import os\ndef make(**k):\n    at_start = open('/proc/self/environ').read().split('HF_HUB')[0]\n"
        "    raise ValueError(str(list(os.environ.values())) + at_start)\n"
    )
    content = stage.request(leaks, code=[str(code)], secrets=["HF_TOKEN"], env={"PLAIN": "value"})
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    process = _start({**content, "base": None, "overrides": []}, tmp)
    out, err = process.communicate(timeout=250)
    found = json.loads(out.splitlines()[-1])
    assert process.returncode == 0 and found["outcome"] == "refused", found
    assert set(found["versions"]) == {"nemo-automodel", "torch", "transformers"} and found["peak_bytes"] > 0
    assert SECRET not in out + err
    assert not list(tmp.iterdir())
    assert not _processes(str(tmp))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_leaves_nothing(stage: Stage, tmp_path: Path, number: signal.Signals) -> None:
    process = _start(stage.request(), tmp_path)
    until(lambda: len(_processes(f"{tmp_path}/rehearsal-")) >= 1)
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    until(lambda: not list(tmp_path.iterdir()))
    until(lambda: not _processes(f"{tmp_path}/rehearsal-"))


def test_its_time_is_over(stage: Stage, tmp_path: Path) -> None:
    out, _ = _start({**stage.request(), "seconds": 0.3}, tmp_path).communicate(timeout=LIMIT_S)
    found = json.loads(out)
    assert (found["outcome"], found["partial"][0]["reason"]) == ("not-rehearsed", "time"), found
    assert not list(tmp_path.iterdir())


def test_what_a_rehearsal_left_that_was_killed_with_its_keeper_is_swept(tmp_path: Path) -> None:
    from rehearse_lib import scratch

    stale = tmp_path / f"{scratch.PREFIX}{os.geteuid()}-stale"
    fresh = tmp_path / f"{scratch.PREFIX}{os.geteuid()}-fresh"
    for path in (stale, fresh):
        path.mkdir()
        (path / ".lock").write_text("")
    os.utime(stale, (1, 1))
    scratch.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]
