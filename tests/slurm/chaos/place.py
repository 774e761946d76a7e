"""Where it happens: a cluster with accounting, a login node's checkout, and small disks that can be full.

All of it lies below two directories of its own and ends with the session; nothing else on this machine is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import LIMIT_S
from tests.slurm import learner
from tests.slurm.chaos.commands import Commands
from tests.slurm.chaos.nodes import NODES, Nodes
from tests.slurm.cluster import wait_until
from tests.slurm.test_full_disk import Disk

MARK = "CHAOS_MARK"  # in the environment of every command that is started here
MORE = """stall = "4s"
secrets = ["CHAOS_TOKEN"]

[torchrun]
extends = "chain"
stall = "60s"
"""
_EXCHANGE, _AT_FDCWD = 2, -100


class Place:
    """`blind` is true while the launcher cannot know everything, so that UNKNOWN is no lie."""

    def __init__(self) -> None:
        # not below /tmp, of which every node has its own
        self.root = Path(tempfile.mkdtemp(prefix="chaos-", dir="/var/tmp"))
        self.root.chmod(0o755)
        self.token, self.began = "", 0.0
        self.commands = Commands(self.root)
        self.cluster = Nodes(self.commands)
        self.blind = 0
        self.blind_until = 0.0
        self._hidden = False
        self._mounts: list[Path] = []
        self._mount(self.root / "disk", 200)
        for node in NODES:
            self._mount(self.cluster.dir / "disk" / f"c{node}", 24)
        self.site = learner.site(self.root, self.cluster, MORE, "low")
        self._mount(self.site.root / ".launch", 24)
        self.disk, self.records = Disk(self.root / "disk"), Disk(self.site.root / ".launch")
        self.site.environ |= {
            "PATH": f"{self.commands.bin}:{os.environ['PATH']}",
            MARK: self.root.name,
        }
        self._torchrun()
        self.jobs = self.disk.path / "jobs"

    def _mount(self, path: Path, megabytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", path], check=True)
        self._mounts.append(path)

    def _torchrun(self) -> None:
        """The same training, under torchrun."""
        text = learner.RECIPE.replace('"learner"', '"learner-torchrun"').replace(
            'launch = "python"', 'launch = "torchrun"'
        )
        (self.site.root / "recipes" / "learner_torchrun.py").write_text(text)

    def up(self) -> None:
        """Start the cluster."""
        self.cluster.up()

    def down(self) -> None:
        """Leave nothing behind."""
        self.restore_files()
        self.cluster.down(remove=False)
        for path in reversed(self._mounts):
            subprocess.run(["umount", "--lazy", path], check=False)
        for folder in (self.cluster.dir, self.root):
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self, number: int) -> None:
        """A job root, records and a secret of its own for that fault; a bad node is not so for the next one."""
        self.clear()
        self.began = time.time()
        self.token = self.site.environ["CHAOS_TOKEN"] = secrets.token_hex(16)
        self.jobs = self.disk.path / f"jobs-{number}"
        self.jobs.mkdir()
        env = learner.ENV.format(python=sys.executable, root=self.jobs, more=MORE, partition="low")
        (self.site.root / "env.toml").write_text(env)

    def clear(self) -> None:
        """Remove what the last fault has left."""
        shutil.rmtree(self.jobs, ignore_errors=True)
        for path in (self.site.root / ".launch").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def keep(self, folder: Path) -> None:
        """Copy what a fault has left, for whoever looks into it."""
        with contextlib.suppress(shutil.Error, OSError):
            ignore = shutil.ignore_patterns("code", ".reserve", "nemo_run", "secrets.env")
            shutil.copytree(self.jobs, folder / "jobs", ignore=ignore, dirs_exist_ok=True)
            shutil.copytree(self.site.root / ".launch", folder / "launch", ignore=ignore, dirs_exist_ok=True)

    # What is broken, and mended again

    @contextlib.contextmanager
    def no_sight(self) -> Iterator[None]:
        """The launcher cannot know everything meanwhile, nor in the answer that it is about to give."""
        self.blind += 1
        try:
            yield
        finally:
            self.blind -= 1
            self.blind_until = time.monotonic() + 12

    @property
    def is_blind(self) -> bool:
        """Whether an UNKNOWN would be true."""
        return bool(self.blind) or time.monotonic() < self.blind_until

    def take_away(self) -> None:
        """In place of the job root there is a file, for the login node and for all nodes; once more: it is back."""
        decoy = self.disk.path / "away"
        if not decoy.exists():
            decoy.touch()
        libc = ctypes.CDLL(None, use_errno=True)
        paths = (os.fsencode(self.jobs), os.fsencode(decoy))
        if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")

    def hide(self) -> None:
        """The login node does not have the job root mounted; the nodes have it."""
        (self.root / "empty").mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", self.root / "empty", self.jobs], check=True)
        self._hidden = True

    def restore_files(self) -> None:
        """All files are where they were, all disks have room, all programs are well."""
        if self._hidden:
            subprocess.run(["umount", "--lazy", self.jobs], check=True)  # somebody may stand in it
            self._hidden = False
        if self.jobs.is_file():
            self.take_away()
        for path in (self.disk.path, self.records.path, *self._mounts):
            (path / "somebody-elses").unlink(missing_ok=True)
        self.commands.clear()

    def restore(self) -> None:
        """All daemons and nodes are back, and everything of `restore_files`; jobs are left alone."""
        self.restore_files()
        for name, start in (("slurmdbd", self.cluster.start_dbd), ("slurmctld", self.cluster.start_ctld)):
            if not self._runs(name):
                start()
        for node in NODES:
            if self.cluster.is_on(node):
                self.cluster.join_node(node)
            else:
                self.cluster.start_node(node)
            if any(word in self.cluster.node_state(node) for word in ("DOWN", "DRAIN")):
                self.cluster.run("scontrol", "update", f"nodename=c{node}", "state=resume")
        wait_until(self._all_usable, LIMIT_S, "all nodes usable")

    def _runs(self, daemon: str) -> bool:
        try:
            pid = int((self.cluster.dir / "run" / f"{daemon}.pid").read_text())
            return Path(f"/proc/{pid}/comm").read_text().strip() == daemon
        except (OSError, ValueError):
            return False

    def _all_usable(self) -> bool:
        bad = ("DOWN", "DRAIN", "NOT_RESPONDING")
        return not any(word in self.cluster.node_state(node) for node in NODES for word in bad)


def read_json(path: Path) -> dict[str, object] | None:
    """An object, or None where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
