"""Two people, one job root, one run: the second is told at once, or goes on where their group may write."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.jobs import ownership
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.conftest import Checkout, make_checkout

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="two users can only be played by root"),
]
GROUP, ALICE, BOB = 42_000, 42_001, 42_002


def _python() -> tuple[str, dict[str, str]]:
    """A Python that others can start, with what has to be in its environment: this one may lie in root's home."""
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python, environ in ((sys.executable, {}), (system, {"PYTHONPATH": sysconfig.get_path("purelib")})):
        command = [python, "-c", "import pydantic, omegaconf, yaml"]
        with contextlib.suppress(OSError):
            options: dict[str, Any] = {"user": BOB, "group": BOB, "extra_groups": []}
            if not subprocess.run(command, cwd="/", env=environ, stderr=subprocess.DEVNULL, **options).returncode:
                return python, environ
    pytest.skip("there is no Python with the tests' packages that other users could start", allow_module_level=True)


PYTHON = _python() if os.getuid() == 0 else ("", {})
LINES = '\n[shared]\nextends = "local"\nremote_job_dir = "{}"\n'
COMMON = ("stub-one", "--run", "shared", "--name", "ours", "steps=1")


class Person:
    """A user with an own primary group, an own checkout and umask 022, as on most clusters; member of GROUP as well."""

    def __init__(self, folder: Path, uid: int, root: Path) -> None:
        self.uid = uid
        self.checkout: Checkout = make_checkout(folder / str(uid))
        with (self.checkout.root / "env.toml").open("a") as file:
            file.write(LINES.format(root))
        for path in (self.checkout.root, *self.checkout.root.rglob("*")):
            os.chown(path, uid, uid)
        own = {"HOME": str(self.checkout.root), "PYTHONDONTWRITEBYTECODE": "1"}
        self.checkout.environ = {**self.checkout.environ, **own, **PYTHON[1]}

    @property
    def identity(self) -> dict[str, Any]:
        """What subprocess takes."""
        return {"user": self.uid, "group": self.uid, "extra_groups": [GROUP], "umask": 0o022}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON[0], str(self.checkout.root / "launch.py"), *words]
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 240, "check": False}
        return subprocess.run(command, cwd=self.checkout.root, env=self.checkout.environ, **options, **self.identity)


@contextlib.contextmanager
def _two(mode: int) -> Iterator[tuple[Path, Person, Person]]:
    """A job root of that mode, which belongs to GROUP, and two people; in no directory that is the tests' own alone."""
    folder = Path(tempfile.mkdtemp(prefix="people-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        root = folder / "jobs"
        root.mkdir()
        os.chown(root, 0, GROUP)
        root.chmod(mode)
        yield root, Person(folder, ALICE, root), Person(folder, BOB, root)
    finally:
        while folder.exists():  # an agent may write its last line meanwhile
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("mode", [0o1777, 0o777], ids=oct)
def test_the_second_is_told_whose_the_run_is_before_anything_starts(mode: int) -> None:
    with _two(mode) as (root, alice, bob):
        assert alice.run(*COMMON).returncode == 0
        for words in (("--dry-run",), ()):
            done = bob.run(*COMMON, *words)
            said = " ".join((done.stdout + done.stderr).split())
            assert done.returncode == 3 and "Traceback" not in said
            assert "another-users" in said and "run ours is UNKNOWN's" in said and f"{root}/ours" in said
            assert "--name NAME" in said
        assert sorted(path.name for path in root.iterdir()) == ["ours", "ours.1"]
        forced = bob.run(*COMMON, "--force")
        assert forced.returncode == 3 and "--name NAME" in forced.stderr, forced.stderr
        assert sorted(path.name for path in root.iterdir()) == ["ours", "ours.1"], "nothing is left behind"
        own = bob.run(*(word if word != "ours" else "bobs" for word in COMMON))
        assert own.returncode == 0, own.stderr


def test_a_job_root_of_a_group_is_shared_whatever_the_umask_is() -> None:
    with _two(0o2775) as (root, alice, bob):
        first = alice.run(*COMMON)
        assert first.returncode == 0, first.stderr
        for path in (root / "ours", root / "ours" / "claims"):
            assert path.stat().st_gid == GROUP and path.stat().st_mode & stat.S_IWGRP, path
        second = bob.run(*COMMON)
        assert second.returncode == 0, second.stderr
        third = alice.run(*COMMON)
        assert third.returncode == 0, third.stderr
        assert {path.stat().st_uid for path in root.glob("ours.*")} == {ALICE, BOB}
        for name in ("lock", "history.jsonl"):
            assert (root / "ours" / name).stat().st_mode & stat.S_IWGRP, name
        for job in root.glob("ours.*"):  # what a job runs is not the group's to change
            assert not job.stat().st_mode & stat.S_IWGRP
            assert not (job / "script").stat().st_mode & stat.S_IWGRP


@pytest.mark.parametrize("place", [LOCAL, RemoteFileSystem(LocalShell())], ids=["here", "over-a-shell"])
def test_folders_are_the_groups_only_where_the_one_above_is(place: FileSystem, tmp_path: Path) -> None:
    for mode, shared in ((0o2775, True), (0o775, False), (0o2755, False)):
        top = tmp_path / oct(mode)
        top.mkdir()
        os.chown(top, 0, GROUP)
        top.chmod(mode)
        before = os.umask(0o022)
        try:
            place.make_shared(f"{top}/a b/claims", str(top))
            place.make_shared(f"{top}/a b/claims", str(top))
        finally:
            os.umask(before)
        for folder in (top / "a b", top / "a b" / "claims"):
            assert bool(folder.stat().st_mode & stat.S_IWGRP) is shared, (oct(mode), folder)


def test_a_cluster_is_asked_the_same_question() -> None:
    folder = Path(tempfile.mkdtemp(prefix="people-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        run = folder / "it's ours"
        run.mkdir()
        (run / "lock").write_text("x")

        def asked(uid: int) -> str | None:
            command = ["bash", "-c", f"echo Welcome; {ownership.question(str(run))}"]
            done = subprocess.run(
                command, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, cwd="/"
            )
            return ownership.first(done.stdout.splitlines())

        assert asked(0) is None
        assert asked(BOB) == f"root {run}"
        run.chmod(0o777)
        assert asked(BOB) == f"root {run}/lock"
        (run / "lock").chmod(0o666)
        assert asked(BOB) is None
    finally:
        shutil.rmtree(folder)


def test_a_claim_that_cannot_be_read_ends_in_words() -> None:
    with _two(0o2775) as (root, alice, bob):
        assert alice.run(*COMMON).returncode == 0
        for claim in (root / "ours" / "claims").iterdir():
            claim.chmod(0o600)
        done = bob.run(*COMMON)
        assert done.returncode == 3 and "another user" in done.stderr and "Traceback" not in done.stderr
