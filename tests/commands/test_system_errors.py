"""An error of the system that nobody has foreseen is one line with the path, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import records
from tests.commands.conftest import Cli
from tests.conftest import Checkout

CASES = [
    (errno.ENOSPC, 4, "No space left on device", "make room"),
    (errno.EDQUOT, 4, "quota", "make room"),
    (errno.EROFS, 4, "Read-only file system", "read-only"),
    (errno.EIO, 4, "Input/output error", "administrators"),
    (errno.ESTALE, 4, "Stale file handle", "mounted again"),
    (errno.EACCES, 2, "Permission denied", "permissions"),
    (errno.EISDIR, 2, "Is a directory", ""),
    (errno.E2BIG, 4, "Argument list too long", ""),
]


@pytest.mark.parametrize(("number", "code", "words", "hint"), CASES)
def test_one_line_with_the_path(
    launch: Cli, monkeypatch: pytest.MonkeyPatch, number: int, code: int, words: str, hint: str
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder / "a.json"))

    monkeypatch.setattr(records, "all_records", fail)
    err = launch.refused(code, ("jobs",), str(launch.bench.workspace.records / "a.json"), words, hint)
    assert len(err.splitlines()) == (2 if hint else 1)
    got, out, _ = launch("jobs", "--json")
    assert (got, json.loads(out)["error"]["kind"]) == (code, "system")


def test_an_error_without_a_path(launch: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError("something odd")

    monkeypatch.setattr(records, "all_records", fail)
    assert launch.refused(4, ("jobs",)) == "error: something odd\n"


def test_records_that_cannot_be_written(launch: Cli) -> None:
    (launch.bench.root / ".launch").write_text("no folder")
    code, _, err = launch("stub", "steps=1")
    assert code == 4 and ".launch" in err and "Traceback" not in err


@pytest.mark.e2e
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="makes a mount of its own")
def test_a_read_only_checkout_of_many_people_works(checkout: Checkout, tmp_path: Path) -> None:
    """Records and local runs lie in the user's own state directory; where is said when they are first made."""
    state = tmp_path / "state"
    environ = {**checkout.environ, "XDG_STATE_HOME": str(state), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        mount = f"mount --bind {checkout.root} {checkout.root} && mount -o remount,ro,bind {checkout.root}"
        script = f'{mount} && cd {checkout.root} && exec "$@"'
        command = ["unshare", "-m", "bash", "-c", script, "x", sys.executable, "launch.py", *argv]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=240)

    if run("--version").returncode:
        pytest.skip("mounts are not allowed here")
    done = run("stub-one", "steps=2")
    assert done.returncode == 0, done.stderr
    assert f"{checkout.root} cannot be written" in done.stderr and str(state) in done.stderr
    status = run("status")
    assert "COMPLETED" in status.stdout
    again = run("stub-one", "steps=3")
    assert again.returncode == 0 and "cannot be written" not in again.stderr
    assert len(list(state.rglob("exit.json"))) == 2


FULL = Path("/dev/full")


def _on_a_full_disk(checkout: Checkout, buffered: str, *argv: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in checkout.environ.items() if name != "PYTHONUNBUFFERED"} | (
        {} if buffered else {"PYTHONUNBUFFERED": "1"}
    )
    streams: dict[str, Any] = {"stdout": FULL.open("w"), "stderr": subprocess.PIPE}
    with streams["stdout"]:
        return subprocess.run(
            checkout.command(*argv), env=environ, cwd=checkout.root, text=True, check=False, timeout=240, **streams
        )


@pytest.mark.e2e
@pytest.mark.skipif(not FULL.exists(), reason="has no /dev/full")
@pytest.mark.parametrize("buffered", ["buffered", ""])
def test_a_full_disk_behind_standard_output_hides_no_exit_code(checkout: Checkout, buffered: str) -> None:
    words = f"standard output ({FULL}) cannot be written: No space left on device"
    for json_ in ((), ("--json",)):
        done = _on_a_full_disk(checkout, buffered, "stub-one", "steps=2", "pause=0.5", "fail_rank=0", "code=7", *json_)
        assert done.returncode == 7, done.stderr
        assert done.stderr.count(words) == 1 and "FAILED, exit code 7" in done.stderr
        done = _on_a_full_disk(checkout, buffered, "attach", *json_)
        assert (done.returncode, done.stderr.count(words)) == (7, 1), done.stderr
    for argv in (("status",), ("jobs",), ("jobs", "--json"), ("recipes",), ("stub-one", "--dry-run", "--full")):
        done = _on_a_full_disk(checkout, buffered, *argv)
        assert done.returncode == 4 and done.stderr.count(words) == 1 and "Traceback" not in done.stderr
    done = _on_a_full_disk(checkout, buffered, "stub-one", "--batch", "local", "--name", "b")
    assert done.returncode == 4 and f"error: {words}" in done.stderr and "stands" in done.stderr
    assert "started b.1" in done.stderr


@pytest.mark.e2e
def test_a_current_directory_that_was_removed_is_left(checkout: Checkout, tmp_path: Path) -> None:
    """A local launch failed without a path, and doctor took the shell's complaint for a finding."""
    gone = tmp_path / "gone"

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        script = f'mkdir {gone} && cd {gone} && rmdir {gone} && exec "$@"'
        command = ["bash", "-c", script, "x", *checkout.command(*argv)]
        return subprocess.run(command, env=checkout.environ, capture_output=True, text=True, check=False, timeout=240)

    done = run("stub-one", "steps=1")
    assert done.returncode == 0, done.stderr
    assert f"the current directory was removed; paths count from {checkout.root}" in done.stderr
    for argv in (("status",), ("jobs",), ("doctor", "local")):
        done = run(*argv)
        assert "getcwd" not in done.stdout + done.stderr and "shell-init" not in done.stdout + done.stderr
    assert "COMPLETED" in run("jobs").stdout
