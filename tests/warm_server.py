"""A Python that has imported what the launcher needs of others, and forks a `launch.py` for each request.

Started by tests/warm.py, as `python warm_server.py CHECKOUT SOCKET`. What is forked comes to the end of this file and
then runs launch.py as `python launch.py` would: as __main__ of a process of its own, with its own environment, working
directory and standard streams, and with the interpreter's own way out. Of the launcher itself nothing is loaded before.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import resource
import runpy
import selectors
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Every module that a plan needs and that is not ours; what is missing here is imported later, in each launch.
OTHERS = (
    "ctypes",
    "fsspec.core",
    "omegaconf",
    "pydantic",
    "rich.console",
    "rich.table",
    "statistics",
    "tarfile",
    "tomli",
)
OURS = "automodel_launch"


def warm_up(checkout: str) -> None:
    """Import NeMo-Run through the launcher's own door, and then forget the launcher."""
    former, sys.path[0] = sys.path[0], checkout
    log = logging.root.handlers[:], logging.root.level
    importlib.import_module(f"{OURS}.executors.nemo")._import()
    for name in OTHERS:
        importlib.import_module(name)
    logging.root.handlers[:], logging.root.level = log
    for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
        del sys.modules[name]
    sys.path[0] = former


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
    atexit.unregister(shutil.rmtree)  # of NeMo-Run's folder, which is the server's
    return sys.argv[0]


def main() -> str | None:
    """The script of a process that was forked; None in the server, at its end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[2])
        listener.listen(16)
        warm_up(sys.argv[1])
        gc.collect()
        gc.freeze()
        asked = serve(listener)
    return None if asked is None else become(*asked)


if __name__ == "__main__" and (SCRIPT := main()) is not None:
    runpy.run_path(SCRIPT, run_name="__main__")
