"""`subprocess.run` for launch.py, without the seconds of NeMo-Run's import that each process pays; and for recipes.

A server of this test process (warm_server.py; recipe_server.py for data-prep, curate_server.py) has what it needs
imported, and forks. What cannot be had in that way, such as another setting of the interpreter, starts cold, and so
does whatever a test starts by means of Checkout.command.
"""

from __future__ import annotations

import array
import atexit
import functools
import json
import os
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("warm_server.py")
RECIPES = Path(__file__).with_name("recipe_server.py")
CURATE = Path(__file__).with_name("curate_server.py")
# What an interpreter, and what NeMo-Run and its like, look at once, when they start or are imported.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "NEMORUN_HOME", "TORCHX", "MALLOC")


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_START)}


_ENVIRON = {name: value for name, value in os.environ.items() if name != "NEMORUN_HOME"}
_ONE_AT_A_TIME = threading.Lock()


class _Server:
    """Started when it is first needed; it ends when this process does, however that ends: it holds a pipe to it."""

    def __init__(self, script: Path, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp")  # a socket's path has to be short
        self._address = f"{self._folder.name}/socket"
        command = [sys.executable, str(script), str(script.parent.parent), self._address]
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
        part = client.recv(1)  # no more: of a process that ends at once two numbers have come
        assert part, "the server is gone"
        text += part
    return int(text)


@functools.cache
def _server(script: Path) -> _Server:
    return _Server(script, _ENVIRON)


def can_run(environ: Mapping[str, str]) -> bool:
    """Whether a process with that environment may be forked from one that was started with ours."""
    return hasattr(os, "pidfd_open") and _settings(environ) == _settings(_ENVIRON)


def inherited() -> dict[str, Any]:
    """What else a process gets of the one that starts it, and a test may have changed here."""
    status = Path("/proc/self/status").read_text()  # asked of os.umask it would be another one for a moment
    mask = int(status.partition("\nUmask:")[2].split()[0], 8)
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {"umask": mask, "limits": limits, "cpus": sorted(os.sched_getaffinity(0)), "nice": os.nice(0)}


class _Lines:
    """Of a pipe; none is read before it is asked for, so that Process.communicate has the rest."""

    def __init__(self, file: int) -> None:
        self._file = file

    def readline(self) -> str:
        """The next one; empty at the end."""
        line = b""
        while not line.endswith(b"\n") and (part := os.read(self._file, 1)):
            line += part
        return line.decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")


class Process:
    """A launch.py that was forked, for whoever started it: as a subprocess.Popen of text."""

    def __init__(self, command: list[str], pid: int, client: socket.socket, streams: list[int]) -> None:
        """`streams` are the ends to read from of its output and errors, where these are pipes."""
        self.args, self.pid, self.returncode = command, pid, None
        self._client, self._streams = client, streams
        if streams:
            self.stdout, self.stderr = map(_Lines, streams)

    returncode: int | None
    stdout: _Lines | None = None
    stderr: _Lines | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None and select.select([self._client], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: it runs still, after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._client], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._client:
                self.returncode = _number(self._client)
        return self.returncode

    def communicate(self, timeout: float = 600.0) -> list[str]:
        """Its output and errors, at the end of both, and its own; once, unlike Popen's.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            texts = _read(*self._streams, deadline=deadline)
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(self.args, timeout, *error.args) from None
        finally:
            for file in self._streams:
                os.close(file)
        self.wait(max(0.0, deadline - time.monotonic()))
        return texts

    def send_signal(self, number: int) -> None:
        """To a process that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    command: list[str],
    environ: Mapping[str, str],
    cwd: Path,
    streams: tuple[int, int] | None = None,
    start_new_session: bool = False,
    server: Path = SERVER,
) -> Process:
    """Start `command` (the interpreter, launch.py, arguments), with these files or pipes for its output and errors.

    `server`: the script that forks it, with what it needs imported.
    """
    pipes = [os.pipe(), os.pipe()] if streams is None else []
    request = {"argv": command[1:], "cwd": str(cwd), "environ": dict(environ), "session": start_new_session}
    try:
        with _ONE_AT_A_TIME:
            forks = _server(server)
        text = json.dumps({**request, **inherited()}).encode() + b"\n"
        pid, client = forks.start(text, [0, *(streams or (end for _, end in pipes))])
    finally:
        for _, end in pipes:
            os.close(end)
    return Process(command, pid, client, [end for end, _ in pipes])


def run(
    command: list[str], environ: Mapping[str, str], cwd: Path, timeout: float, server: Path = SERVER
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, and to that of its output.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds; it was killed.
    """
    process = start(command, environ, cwd, server=server)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.wait(), out, err)


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
