"""Running commands and moving files where a profile's jobs live: on this machine, or over OpenSSH.

The system's ssh, not a library: it honours ssh_config (alias, port, ProxyJump, identity), agents and known_hosts, and
one master connection (ControlMaster) serves all calls of all commands for ten minutes.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from automodel_launch.errors import ClusterError

CONNECT_S = 10
PERSIST_S = 600


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell(Protocol):
    """A place where commands run."""

    @property
    def place(self) -> str:
        """Its name, for messages."""

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """Run a bash script with `data` on its standard input.

        Raises:
            ClusterError: the place cannot be reached, or there is no answer within `timeout` seconds.
        """

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """The same, with output as bytes."""


class _Runner:
    """What both kinds share: one process a call, its output captured."""

    place = "this machine"

    def command(self, script: str) -> list[str]:
        """The process to start."""
        raise NotImplementedError

    def check(self, code: int, err: str) -> None:
        """Turn a failure of the way, not of the script, into an error."""

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """See Shell."""
        code, out, err = self.run_bytes(script, data, timeout)
        return Done(code, out.decode(errors="replace"), err.decode(errors="replace"))

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Shell."""
        try:
            done = subprocess.run(self.command(script), input=data, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{self.place}: no answer within {timeout:.0f} s.", "is it busy or down?") from error
        except FileNotFoundError as error:
            raise ClusterError(f"{error.filename} is not installed on this machine.") from error
        self.check(done.returncode, done.stderr.decode(errors="replace"))
        return done.returncode, done.stdout, done.stderr


@dataclass(frozen=True)
class LocalShell(_Runner):
    """This machine: a login node, or a laptop that is the cluster."""

    def command(self, script: str) -> list[str]:
        """See _Runner."""
        return ["bash", "-c", script]


@dataclass(frozen=True)
class SshShell(_Runner):
    """A host as `ssh` knows it. Host keys are strict whatever ssh_config says: an unknown or changed one is refused."""

    host: str
    user: str | None = None
    identity: str | None = None

    @property
    def place(self) -> str:  # type: ignore[override]  # a constant above, made of the fields here
        """user@host."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def options(self) -> list[str]:
        """Options of every ssh call."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5"]
        options += ["ServerAliveCountMax=3", "ControlMaster=auto", f"ControlPath={_control_path(self)}"]
        options += [f"ControlPersist={PERSIST_S}"]
        words = [word for option in options for word in ("-o", option)]
        if self.user:
            words += ["-l", self.user]
        if self.identity:
            words += ["-i", str(Path(self.identity).expanduser())]
        return words

    def command(self, script: str) -> list[str]:
        """See _Runner."""
        return ["ssh", *self.options(), self.host, "--", f"bash -c {shlex.quote(script)}"]

    def check(self, code: int, err: str) -> None:
        """ssh itself ends with 255; its words tell what was wrong."""
        if code != 255:
            return
        said = " ".join(err.split())[-400:]
        for words, fix in _SSH_FIXES:
            if any(word in err for word in words):
                raise ClusterError(f"{self.place}: ssh: {said}", fix)
        raise ClusterError(f"{self.place}: ssh failed: {said or 'no message'}", f"try: ssh {self.place} true")


_SSH_FIXES = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",),
        "the host's key is another than before: ask its administrators, then ssh-keygen -R HOST",
    ),
    (
        ("Host key verification failed", "host key is known"),
        "the host's key is not known here: connect once by hand (ssh HOST) and compare it",
    ),
    (
        ("Permission denied", "Too many authentication failures"),
        "the key was refused: check `user`, `identity` and `ssh-add -l`",
    ),
    (("Could not resolve", "Name or service not known"), "check `host`; it may be an alias of ~/.ssh/config"),
    (
        ("Connection refused", "timed out", "No route to host", "Network is unreachable"),
        "is the host up, the port right, the VPN on?",
    ),
)


def _control_path(shell: SshShell) -> str:
    """A short path of this user's own: the limit for a socket's path is about 100 characters."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base) / f"automodel-launch-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise ClusterError(f"{folder} is not a private folder of this user.", f"remove it: rm -r {folder}")
    name = hashlib.sha256(f"{shell.user}@{shell.host} {shell.identity} {os.environ.get('HOME')}".encode()).hexdigest()
    return str(folder / name[:16])
