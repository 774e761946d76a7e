"""Where the sockets of master connections are, ours and that of a person who has opened one, and what else ssh_config
says of a host that a program has to know."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from automodel_launch.errors import ClusterError

_USUAL = (("RemoteCommand", "none"), ("SessionType", "default"), ("StdinNull", "no"), ("ForkAfterAuthentication", "no"))
LOOK_S = 5.0  # neither call goes over a network
_LONGEST = 104 - 17  # the shortest limit of any system, less what ssh appends while it makes the socket


@dataclass(frozen=True)
class Settings:
    """What ssh_config says of a host: the socket of a person's own, and options that undo what is for a person."""

    control_path: str = ""
    undo: tuple[str, ...] = ()


def settings(host: str, login: list[str]) -> Settings:
    """As `ssh -G` tells; nothing where it fails, since the call after it tells why."""
    lines = (_said(["ssh", *login, "-G", host]) or "").splitlines()
    config = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    # Only what is set: an ssh older than an option would refuse it.
    undo = [f"{name}={usual}" for name, usual in _USUAL if config.get(name.lower(), usual) != usual]
    return Settings(config.get("controlpath", ""), tuple(undo))


def is_open(path: str, host: str, login: list[str]) -> bool:
    """A person's master connection is there, and answers."""
    return path not in ("", "none") and Path(path).exists() and _said(["ssh", *login, "-O", "check", host]) is not None


def _said(command: list[str]) -> str | None:
    """What an ssh that connects to nothing prints; None where it fails: the call after it tells why."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, timeout=LOOK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def own(host: str, user: str | None, identity: str | None) -> str:
    """A short path in a private folder: a socket's path has a limit of about 100 characters.

    Where another user has taken the folder's name, or no socket can be there, the next base is tried.

    Raises:
        ClusterError: there is no such folder.
    """
    who = f"{user}@{host} {identity} {os.environ.get('HOME')}"
    found: list[str] = []
    for base, shared in _bases():
        # a home may be that of many machines: a socket belongs to one
        key = f"{who} {socket.gethostname()}" if shared else who
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        folder = Path(base, f"automodel-launch-{os.getuid()}" if not shared else ".automodel-launch")
        problem = f"{folder}: too long for a socket" if len(str(folder / name)) > _LONGEST else _unusable(folder)
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
