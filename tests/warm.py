"""`subprocess.run` for launch.py, without the seconds of NeMo-Run's import that each process pays.

A server (warm_server.py) of this test process has it imported and forks. What cannot be had in that way, such as
another setting of the interpreter, starts cold, and so does whatever a test starts by means of Checkout.command.
"""

from __future__ import annotations

import array
import atexit
import functools
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("warm_server.py")
# What an interpreter, and what NeMo-Run and its like, look at once, when they start or are imported.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "NEMORUN_HOME", "TORCHX", "MALLOC")


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_START)}


_ENVIRON = {name: value for name, value in os.environ.items() if name != "NEMORUN_HOME"}
_ONE_AT_A_TIME = threading.Lock()


class _Server:
    """Started when it is first needed; it ends when this process does, however that ends: it holds a pipe to it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp")  # a socket's path has to be short
        self._address = f"{self._folder.name}/socket"
        command = [sys.executable, str(SERVER), str(SERVER.parent.parent), self._address]
        # Pipes, as its launches have them: a stream of Python's remembers whether it stands on something seekable.
        self._process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, env=dict(environ))
        atexit.register(self.close)

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def start(self, request: bytes, files: list[int]) -> tuple[int, socket.socket]:
        """The pid of a process, and the connection that tells its exit code."""
        client = socket.socket(socket.AF_UNIX)
        while True:
            try:
                client.connect(self._address)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert self._process.poll() is None, self._process.communicate()
                time.sleep(0.02)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
        sent = client.sendmsg([request], [rights])
        client.sendall(request[sent:])
        return _number(client), client


def _number(client: socket.socket) -> int:
    text = b""
    while not text.endswith(b"\n"):
        part = client.recv(64)
        assert part, f"{SERVER.name} is gone"
        text += part
    return int(text)


@functools.cache
def _server() -> _Server:
    return _Server(_ENVIRON)


def can_run(environ: Mapping[str, str]) -> bool:
    """Whether a process with that environment may be forked from one that was started with ours."""
    return hasattr(os, "pidfd_open") and _settings(environ) == _settings(_ENVIRON)


def inherited() -> dict[str, Any]:
    """What else a process gets of the one that starts it, and a test may have changed here."""
    status = Path("/proc/self/status").read_text()  # asked of os.umask it would be another one for a moment
    mask = int(status.partition("\nUmask:")[2].split()[0], 8)
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {"umask": mask, "limits": limits, "cpus": sorted(os.sched_getaffinity(0)), "nice": os.nice(0)}


def run(command: list[str], environ: Mapping[str, str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `command` (the interpreter, launch.py, arguments) to its end, and to that of its output.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds; it was killed.
    """
    (out, its_out), (err, its_err) = os.pipe(), os.pipe()
    request = {"argv": command[1:], "cwd": str(cwd), "environ": dict(environ), **inherited()}
    try:
        with _ONE_AT_A_TIME:
            server = _server()
        pid, client = server.start(json.dumps(request).encode() + b"\n", [0, its_out, its_err])
    finally:
        os.close(its_out)
        os.close(its_err)
    with client:
        try:
            texts = _read(out, err, deadline=time.monotonic() + timeout)
        except TimeoutError as error:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout, *error.args) from None
        finally:
            os.close(out)
            os.close(err)
        return subprocess.CompletedProcess(command, _number(client), *texts)


def _read(*files: int, deadline: float) -> list[str]:
    texts: dict[int, bytes] = dict.fromkeys(files, b"")
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(*_decoded(texts))
            for key, _ in ready:
                if part := os.read(key.fd, 1 << 16):
                    texts[key.fd] += part
                else:
                    selector.unregister(key.fd)
    return _decoded(texts)


def _decoded(texts: dict[int, bytes]) -> list[str]:
    """As text=True does it: one character for every end of a line."""
    return [text.decode().replace("\r\n", "\n").replace("\r", "\n") for text in texts.values()]
