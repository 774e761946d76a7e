"""A Python that has imported the launcher and what it needs of others, and forks a `launch.py` for each request.

Started by tests/warm.py, as `python warm_server.py CHECKOUT SOCKET`. What is forked comes to the end of this file and
then runs launch.py as `python launch.py` would: as __main__ of a process of its own, with its own environment, working
directory and standard streams, and with the interpreter's own way out. Where the launcher beside that launch.py is not
a copy of CHECKOUT's as it was when it was imported, it is forgotten, and imported from there.
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
from collections.abc import Iterable
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


def warm_up(checkout: str) -> dict[str, tuple[int, int]]:
    """Import NeMo-Run through the launcher's own door, have it do what it does once, and import all of the launcher.

    Returns the launcher's files, as they were before.
    """
    files = contents(Path(checkout, OURS))
    former, sys.path[0] = sys.path[0], checkout
    log = logging.root.handlers[:], logging.root.level
    importlib.import_module(f"{OURS}.executors.nemo")._import()
    for name in (*OTHERS, *modules(files)):
        importlib.import_module(name)
    from nemo_run.core.execution import utils
    from nemo_run.run.torchx_backend import runner

    runner.get_scheduler_factories()
    templates = Path(utils.__file__).with_name("templates")
    environment = utils.jinja2.Environment(loader=utils.jinja2.FileSystemLoader(templates))
    for path in templates.glob("*.j2"):
        environment.get_template(path.name)
        environment.from_string(path.read_text(encoding="utf-8"))
    logging.root.handlers[:], logging.root.level = log
    sys.path[0] = former
    return files


def contents(package: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change of each file of a package: a copy that nobody has changed has the same."""
    found = {}
    for folder, folders, names in os.walk(package):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(folder, name)
            status = path.stat()
            found[str(path.relative_to(package))] = (status.st_size, status.st_mtime_ns)
    return found


def modules(files: Iterable[str]) -> list[str]:
    """Their names, without that which runs when it is imported."""
    paths = [Path(OURS, name) for name in files if name.endswith(".py") and name != "__main__.py"]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sorted(paths)]


def settle(package: Path, files: dict[str, tuple[int, int]]) -> None:
    """Have the launcher that was imported be the one of this folder; forget it where that is another one."""
    workspace: Any = importlib.import_module(f"{OURS}.workspace")
    if contents(package) == files:
        workspace.PACKAGE, workspace.BUNDLED = package, package / workspace.BUNDLED.name
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
        del sys.modules[name]


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


def become(request: dict[str, Any], files: list[int], ours: dict[str, tuple[int, int]]) -> str:
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
    atexit.unregister(shutil.rmtree)  # of NeMo-Run's folder, which is the server's
    settle(Path(sys.argv[0]).resolve().with_name(OURS), ours)
    return sys.argv[0]


def main() -> str | None:
    """The script of a process that was forked; None in the server, at its end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[2])
        listener.listen(16)
        files = warm_up(sys.argv[1])
        gc.collect()
        gc.freeze()
        asked = serve(listener)
    return None if asked is None else become(*asked, files)


if __name__ == "__main__" and (SCRIPT := main()) is not None:
    runpy.run_path(SCRIPT, run_name="__main__")
