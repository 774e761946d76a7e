"""What a Python that forks a script for each request is made of: warm_server.py and recipe_server.py.

Started by tests/warm.py, as `python SERVER CHECKOUT SOCKET`. What is forked comes to the end of the server's file and
then runs its script as `python SCRIPT` would: as __main__ of a process of its own, with its own environment, working
directory and standard streams.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import resource
import runpy
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def forked(address: str, warm_up: Callable[[], object]) -> str | None:
    """The script of a process that was forked after `warm_up()`; None in the server, at its end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        warm_up()
        gc.collect()
        gc.freeze()
        asked = serve(listener)
    return None if asked is None else become(*asked)


def serve(listener: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Requests and file descriptors for a process that was forked; None where the last client is gone."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)  # a pipe whose other end the tests hold
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    return None
                if key.fd == listener.fileno():
                    client = listener.accept()[0]
                    text, files, _, _ = socket.recv_fds(client, 1 << 20, 3)
                    while not text.endswith(b"\n"):
                        text += client.recv(1 << 20)
                    if (pid := os.fork()) == 0:
                        return json.loads(text), files
                    for file in files:
                        os.close(file)
                    client.sendall(b"%d\n" % pid)
                    pidfd = os.pidfd_open(pid)
                    running[pidfd] = (pid, client)
                    selector.register(pidfd, selectors.EVENT_READ)
                else:
                    selector.unregister(key.fd)
                    pid, client = running.pop(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with client, contextlib.suppress(OSError):  # nobody waits any more
                        client.sendall(b"%d\n" % code)


def become(request: dict[str, Any], files: list[int]) -> str:
    """Take over streams, directory, environment and arguments; the script to run."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    os.umask(request["umask"])
    for name, limits in request["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limits))
    os.sched_setaffinity(0, request["cpus"])
    os.nice(request["nice"] - os.nice(0))
    time.tzset()
    tempfile.tempdir = None
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    return sys.argv[0]


def run(script: str) -> None:
    """Run the script as __main__ and end as an interpreter does, but for clearing all that was imported.

    That would make copies of most of the server's memory, half of what a short launch takes. What leaves the script but
    an exit, and streams that cannot be flushed, are left to the interpreter.
    """
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        elif not isinstance(error.code, int | None):
            raise
        code = 1 if isinstance(error.code, str) else error.code or 0
        _end(code)
        raise SystemExit(code) from None
    _end(0)


def _end(code: int) -> None:
    """As Py_FinalizeEx begins. Returns where a stream cannot be flushed."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code & 0xFF)
