"""Running commands over OpenSSH.

The system's ssh, not a library: it honours ssh_config (alias, port, ProxyJump, identity), agents and known_hosts. One
master connection (ControlMaster) serves all calls: the one that a person has opened, with a second factor say, or our
own, which stays for ten minutes.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.errors import ClusterError
from automodel_launch.remote import ssh_sockets
from automodel_launch.remote.framed import Frame
from automodel_launch.remote.shell import Done, as_text, start

CONNECT_S = 8  # one address; a name may have several
GIVE_UP_S = 11.0  # all of them, and the login
PERSIST_S = 600
REMEMBER_S = 1.0  # how long a failed connection answers for the next calls too: 200 jobs of one host wait once
# Whatever ssh_config says for people: no terminal, no windows, no tunnels of theirs; messages that tell what is wrong.
_PLAIN = ("RequestTTY=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "LogLevel=INFO")


@dataclass(frozen=True)
class _Way:
    """The socket of the connection that is used, whether it is a person's, and options for this host."""

    socket: str
    persons: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SshShell:
    """A host as `ssh` knows it. Host keys are strict whatever ssh_config says: an unknown or changed one is refused."""

    host: str
    user: str | None = None
    identity: str | None = None

    @property
    def place(self) -> str:
        """user@host."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def login(self) -> list[str]:
        """Who logs in, with which key: options of every ssh call."""
        words = ["-l", self.user] if self.user else []
        return [*words, *(["-i", str(Path(self.identity).expanduser())] if self.identity else [])]

    def options(self) -> list[str]:
        """Options of every ssh call."""
        way = _ways.get(self._own) or _Way(self._own)
        options = [*_PLAIN, *way.options, "BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={CONNECT_S}"]
        options += ["ServerAliveInterval=5", "ServerAliveCountMax=3"]
        if way.persons:
            options += ["ControlMaster=no"]  # its path stands in ssh_config
        else:
            options += ["ControlMaster=auto", f"ControlPath={way.socket}", f"ControlPersist={PERSIST_S}"]
        return [*(word for option in options for word in ("-o", option)), *self.login]

    @property
    def _own(self) -> str:
        return ssh_sockets.own(self.host, self.user, self.identity)

    def command(self, frame: Frame, mark_errors: bool = True) -> list[str]:
        """The process to start."""
        return ["ssh", *self.options(), self.host, "--", frame.command(mark_errors)]

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """See Shell."""
        return as_text(self.run_bytes(script, data, timeout))

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Shell."""
        self._connect()
        return self._ask(script, data, timeout)

    def attached(self, script: str) -> int:
        """See Shell."""
        self._connect()
        frame = Frame()
        command = self.command(frame, mark_errors=False)
        return subprocess.run(command, input=frame.input(script), stdout=subprocess.DEVNULL, check=False).returncode

    def _ask(self, script: str, data: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        frame = Frame()
        code, out, err = start(self.command(frame), frame.input(script, data), timeout, self.place)
        if code == 255 and not frame.begun(out):
            raise self._why(err)
        answer = frame.answer(out, err, self.place)
        if answer is None:
            raise self._why(err) if code == 255 else ClusterError(f"{self.place}: the answer broke off ({code}).")
        return answer

    def _connect(self) -> None:
        """Make the master connection where there is none: calls of several threads at once would each make one."""
        own = self._own
        with _connecting[own]:
            if own in _ways and Path(_ways[own].socket).exists():
                return
            failed = _failed.get(own)
            if failed and time.monotonic() - failed[0] < REMEMBER_S:
                raise failed[1]
            known = ssh_sockets.settings(self.host, self.login)
            persons = ssh_sockets.is_open(known.control_path, self.host, self.login)
            _ways[own] = _Way(known.control_path if persons else own, persons, known.undo)
            if Path(_ways[own].socket).exists():
                return
            try:
                self._ask("true", b"", GIVE_UP_S)
            except ClusterError as error:
                _failed[own] = (time.monotonic(), error)
                raise

    def _why(self, err: bytes) -> ClusterError:
        """ssh itself ends with 255; its messages tell what was wrong."""
        text = err.decode(errors="replace")
        message = " ".join(line.strip("@ ") for line in text.splitlines() if line.strip("@ \r"))[-400:]
        for marks, fix in _FIXES:
            if any(mark in text for mark in marks):
                return ClusterError(f"{self.place}: ssh: {message}", fix.format(by_hand=self._by_hand()))
        return ClusterError(f"{self.place}: ssh failed: {message or 'no message'}", f"try: ssh {self.place} true")

    def _by_hand(self) -> str:
        """The command with which a person opens the connection that we use: ssh can ask a person."""
        return shlex.join(["ssh", "-fNM", "-S", self._own, *self.login, self.host])


_connecting: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by our own socket: no host waits for another
_failed: dict[str, tuple[float, ClusterError]] = {}  # by our own socket
_ways: dict[str, _Way] = {}  # by our own socket

_FIXES = (
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
        "the key was refused, or the host wants more: check `user`, `identity` and `ssh-add -l`; where it asks for a "
        "password or a second factor, open the connection by hand, then launch again: {by_hand}",
    ),
    (("Could not resolve", "Name or service not known"), "check `host`; it may be an alias of ~/.ssh/config"),
    (
        ("Connection refused", "timed out", "No route to host", "Network is unreachable"),
        "is the host up, the port right, the VPN on?",
    ),
)
