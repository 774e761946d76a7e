"""Running commands on the machine of a profile's jobs: this one, or one over OpenSSH.

The system's ssh, not a library: it honours ssh_config (alias, port, ProxyJump, identity), agents and known_hosts, and
one master connection (ControlMaster) serves all calls of all commands for ten minutes.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import stat
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from automodel_launch.errors import ClusterError

CONNECT_S = 8  # one address; a name may have several
GIVE_UP_S = 11.0  # all of them, and the login
PERSIST_S = 600
REMEMBER_S = 1.0  # how long a failed connection answers for the next calls too: 200 jobs of one host wait once
_SOCKET_PATH = 104 - 17  # the shortest limit of any system, less what ssh appends while it makes the socket
_BEGIN = b"\x02automodel-launch\x03\n"  # what a login script prints comes before it
# A user's own defaults for Slurm's commands (SQUEUE_PARTITION, say, hides jobs) must change neither what is asked nor
# what is done.
_COMMANDS = ("SBATCH", "SQUEUE", "SCONTROL", "SCANCEL", "SACCT", "SINFO")
_PLAIN = f"unset {' '.join(f'${{!{name}_@}}' for name in _COMMANDS)} SLURM_CLUSTERS SLURM_TIME_FORMAT; "


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell(Protocol):
    """Runs commands on one machine."""

    @property
    def place(self) -> str:
        """Its name, for messages."""

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """Run a bash script with `data` on its standard input.

        Raises:
            ClusterError: the machine cannot be reached, or there is no answer within `timeout` seconds.
        """

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """The same, with output as bytes."""

    def attached(self, script: str) -> int:
        """Run a script without a time limit; its standard error is passed on. Returns its exit code."""


class _Runner:
    """What both kinds share: one process a call, its output captured."""

    place = "this machine"

    def command(self, script: str) -> list[str]:
        """The process to start."""
        raise NotImplementedError

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """See Shell."""
        code, out, err = self.run_bytes(script, data, timeout)
        return Done(code, out.decode(errors="replace"), err.decode(errors="replace"))

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Shell."""
        return self._start(self.command(script), data, timeout)

    def attached(self, script: str) -> int:
        """See Shell."""
        return subprocess.run(
            self.command(script), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        ).returncode

    def _start(self, command: list[str], data: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        # stderr goes to a file: an ssh that stays behind as master may keep it open, and a pipe would never end.
        # A session of its own: Ctrl-C in the terminal is the launcher's to act on, not that of a squeue half-way.
        with tempfile.TemporaryFile() as err:
            try:
                done = subprocess.run(
                    command,
                    input=data,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    timeout=timeout,
                    check=False,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired as error:
                raise ClusterError(f"{self.place}: no answer within {timeout:.0f} s.", "is it busy or down?") from error
            except FileNotFoundError as error:
                raise ClusterError(f"{error.filename} is not installed on this machine.") from error
            err.seek(0)
            return done.returncode, done.stdout, err.read()


@dataclass(frozen=True)
class LocalShell(_Runner):
    """This machine: a login node, or a laptop that is the cluster. `slurm_conf` is SLURM_CONF where it is not ours."""

    slurm_conf: str | None = None

    def command(self, script: str) -> list[str]:
        """See _Runner."""
        conf = f"export SLURM_CONF={shlex.quote(self.slurm_conf)}\n" if self.slurm_conf else ""
        return ["bash", "-c", _PLAIN + conf + script]


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
        begin = "printf '\\002automodel-launch\\003\\n'; "
        return ["ssh", *self.options(), self.host, "--", f"{begin}exec bash -c {shlex.quote(_PLAIN + script)}"]

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Shell."""
        self._connect()
        code, out, err = self._start(self.command(script), data, timeout)
        self._check(code, err.decode(errors="replace"))
        return code, out.partition(_BEGIN)[2] if _BEGIN in out else out, err

    def _connect(self) -> None:
        """Make the master connection where there is none: calls of several threads at once would each make one."""
        master = Path(_control_path(self))
        with _connecting:
            if master.exists():
                return
            failed = _failed.get(str(master))
            if failed and time.monotonic() - failed[0] < REMEMBER_S:
                raise failed[1]
            try:
                code, _, err = self._start(self.command("true"), b"", GIVE_UP_S)
                self._check(code, err.decode(errors="replace"))
            except ClusterError as error:
                _failed[str(master)] = (time.monotonic(), error)
                raise

    def _check(self, code: int, err: str) -> None:
        """ssh itself ends with 255; its messages tell what was wrong."""
        if code != 255:
            return
        message = " ".join(line.strip("@ ") for line in err.splitlines() if line.strip("@ \r"))[-400:]
        for marks, fix in _SSH_FIXES:
            if any(mark in err for mark in marks):
                raise ClusterError(f"{self.place}: ssh: {message}", fix)
        raise ClusterError(f"{self.place}: ssh failed: {message or 'no message'}", f"try: ssh {self.place} true")


_connecting = threading.Lock()
_failed: dict[str, tuple[float, ClusterError]] = {}  # by socket

_SSH_FIXES = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED",),
        "the host's key has changed: ask its administrators, then ssh-keygen -R HOST",
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
    """A short path in a private folder: a socket's path has a limit of about 100 characters.

    Where another user has taken the folder's name, or no socket can be there, the next base is tried.

    Raises:
        ClusterError: there is no such folder.
    """
    who = f"{shell.user}@{shell.host} {shell.identity} {os.environ.get('HOME')}"
    found: list[str] = []
    for base, shared in _bases():
        # a home may be that of many machines: a socket belongs to one
        key = f"{who} {socket.gethostname()}" if shared else who
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = Path(base, f"automodel-launch-{os.getuid()}" if not shared else ".automodel-launch")
        problem = f"{folder}: too long for a socket" if len(str(folder / name)) > _SOCKET_PATH else _unusable(folder)
        if problem is None:
            return str(folder / name)
        found.append(problem)
    raise ClusterError(
        f"no private folder for the sockets of ssh: {'; '.join(dict.fromkeys(found))}.",
        "export XDG_RUNTIME_DIR=DIR, a short path that only you can read (mkdir -m 700 DIR)",
    )


def _unusable(folder: Path) -> str | None:
    """Why the folder cannot hold sockets of this user's own; it is made where it is missing."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        return f"{folder} is not a private folder of this user"
    return None


def _bases() -> list[tuple[str, bool]]:
    """Folders, and whether other machines may share them. That of the login session goes away with it."""
    session = os.environ.get("XDG_RUNTIME_DIR")
    usable = session and os.access(session, os.W_OK | os.X_OK)
    here = [*([session] if session and usable else []), tempfile.gettempdir(), "/tmp"]
    return [*((base, False) for base in here), (os.path.expanduser("~"), True)]  # noqa: PTH111 (Path.home may raise)
