"""A laptop that is no Linux, as far as programs can tell: without /proc, with a Mac's commands and a Mac's Python.

It is a mount namespace of its own, in which an empty file system hides /proc, a PATH of tests/laptop/commands.py, and a
sitecustomize that takes from Python what only Linux has. LAPTOP_BASH may name a bash 3.2, which is what macOS has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import Checkout, clean_environ, make_checkout
from tests.laptop import commands

# Made with this machine's own commands. /dev/fd, which a Mac has, is a link to /proc/self/fd here.
_ENTER = """set -e
mount -t proc proc "$1"
mount -t tmpfs tmpfs /proc
mkdir /proc/self
ln -s "$1/self/fd" /proc/self/fd
[ ! -e /proc/self/stat ] && [ -e /dev/fd/0 ]
export PATH=$2 PYTHONPATH=$3
shift 3
exec "$@"
"""
_SITE = """import ctypes, os, select, signal, socket
NAMES = {
    os: "sched_getaffinity sched_setaffinity memfd_create eventfd pidfd_open pipe2 waitid splice getrandom getresuid"
    " posix_fallocate posix_fadvise fdatasync copy_file_range preadv pwritev getxattr setxattr listxattr"
    " O_PATH O_DIRECT O_TMPFILE SCHED_BATCH",
    select: "epoll EPOLLIN",
    signal: "sigtimedwait sigwaitinfo SIGRTMIN SIGRTMAX SIGPWR SIGSTKFLT SIGPOLL pidfd_send_signal",
    socket: "AF_NETLINK AF_PACKET SO_BINDTODEVICE SO_PEERCRED",
}
for module, names in NAMES.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
_getattr = ctypes.CDLL.__getattr__
def _without_prctl(self, name):
    if name == "prctl":
        raise AttributeError(name)
    return _getattr(self, name)
ctypes.CDLL.__getattr__ = _without_prctl
"""


def missing() -> str | None:
    """What it cannot be made without on this machine."""
    if os.getuid():
        return "root, for a mount namespace"
    return None if shutil.which("unshare") else "unshare"


class Laptop(Checkout):
    """A checkout whose commands run there. Files and pids are this machine's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.proc, self._site, self.bin = folder / "kernel", folder / "site", folder / "bin"
        self.proc.mkdir()
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(_SITE)
        commands.install(self.bin, self.proc, os.environ.get("LAPTOP_BASH"))
        super().__init__(make_checkout(folder / "checkout").root)

    def there(self, *words: str) -> list[str]:
        """The command line that runs a command there; the process is the command's own."""
        unshare, bash = shutil.which("unshare") or "unshare", shutil.which("bash") or "bash"
        enter = [unshare, "--mount", "--propagation", "private", bash, "-c", _ENTER, "enter"]
        return [*enter, str(self.proc), str(self.bin), str(self._site), *words]

    def command(self, *args: str) -> list[str]:
        """The command line of launch.py."""
        return self.there("python", str(self.root / "launch.py"), *args)

    def execute(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run any command there to its end."""
        command = self.there(*words)
        return subprocess.run(
            command, cwd=cwd, env=clean_environ(), capture_output=True, text=True, check=False, timeout=900
        )
