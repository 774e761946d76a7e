"""Keeps a child from the network, from commands and from writing outside its directory, whatever code it is that tries.

Python's audit hooks see what Python code does, and they cannot be taken off again. What they do not see is C++ that
opens files or sockets by itself; the patches keep torch from doing that (no process group has a store, nothing is
saved). An exception is raised where something is tried; `tried` keeps it, too, for code that catches everything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_NETWORK = (
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
    *("socket.sendto", "socket.sendmsg", "socket.bind", "ftplib.connect", "smtplib.connect", "urllib.Request"),
)
_COMMANDS = (
    *(
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "os.startfile",
    ),
    *("pty.spawn", "signal.pthread_kill"),
)
_CHANGES = {  # event -> how many of its arguments are paths, and where the descriptors of their directories stand
    "os.mkdir": (1, (2,)),
    "os.rename": (2, (2, 3)),
    "os.remove": (1, (1,)),
    "os.rmdir": (1, (1,)),
    "os.symlink": (2, (2,)),
    "os.link": (2, (2, 3)),
    "os.chmod": (1, (2,)),
    "os.chown": (1, (3,)),
    "os.truncate": (1, ()),
    "os.utime": (1, (3,)),
    "os.setxattr": (1, ()),
    "os.removexattr": (1, ()),
    "os.chflags": (1, ()),
    "sqlite3.connect": (1, ()),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_HARMLESS = ("/dev/null", "/dev/tty", "/proc/self/")


class Forbidden(PermissionError):
    """A rehearsal does not do what was tried; the message says what that was."""


tried: list[Forbidden] = []
"""All that was refused so far, in this process."""


def install(scratch: Path) -> None:
    """From now on, nothing is written outside of `scratch`; there is no way back."""
    allowed = (f"{scratch}/", *_HARMLESS)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        said = _what_is_wrong(event, args, allowed)
        if said is not None:
            tried.append(Forbidden(said))
            raise tried[-1]

    sys.addaudithook(hook)


def _what_is_wrong(event: str, args: tuple[Any, ...], allowed: tuple[str, ...]) -> str | None:
    if event == "open":
        path, _, flags = args
        writes = isinstance(flags, int) and flags & _WRITING
        if writes and not isinstance(path, int) and not _inside(path, None, allowed):
            return f"a rehearsal writes nothing: {os.fsdecode(path)}"
    elif event in _CHANGES:
        number, descriptors = _CHANGES[event]
        for at, path in enumerate(args[:number]):
            folder = args[descriptors[min(at, len(descriptors) - 1)]] if descriptors else None
            if event == "os.symlink" and at == 0:
                continue  # where a link leads does not matter
            if not isinstance(path, int) and not _inside(path, folder, allowed):
                return f"a rehearsal changes nothing: {event} of {os.fsdecode(path)}"
    elif event in _NETWORK:
        return f"a rehearsal uses no network: {event} {_shown(args)}"
    elif event in _COMMANDS:
        return f"a rehearsal runs no commands: {event} {_shown(args)}"
    elif event == "os.kill" and args[0] != os.getpid():
        return f"a rehearsal sends no signals: to {args[0]}"
    return None


def _inside(path: Any, folder: Any, allowed: tuple[str, ...]) -> bool:
    try:
        text = os.fsdecode(path)
    except TypeError:
        return False
    if text == ":memory:":
        return True
    if isinstance(folder, int) and folder >= 0 and not text.startswith("/"):
        text = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{text}"
    whole = os.path.abspath(text)  # noqa: PTH100  Path.resolve() would look at the disk, and at links made meanwhile
    real = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))  # noqa: PTH118, PTH119, PTH120
    return f"{real}/".startswith(allowed) or real in allowed


def _shown(args: tuple[Any, ...]) -> str:
    """The arguments, less objects, in a few words."""
    return " ".join(str(item) for item in args if isinstance(item, (str, bytes, tuple, list)))[:120]
