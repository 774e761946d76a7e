"""Setup lines and startup commands: once a node, in one bash; the environment that it leaves is the training's."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from . import procs, ulimits
from .ulimits import Ulimits

_SHELL_ONLY = {b"_", b"SHLVL", b"OLDPWD", b"PWD"}
_HIGH = 100  # the number of a descriptor that no command uses for itself, and bash neither

# By path: the commands may change PATH. An `env` without -0 (macOS before 13) has printed nothing when it fails.
_DUMP = "__node_agent_environ() {{ {env} -0 2>/dev/null || {python} -ISc {program}; }}"
_PRINT = r"import os, sys; sys.stdout.buffer.writelines(b'%b=%b\0' % item for item in os.environb.items())"


class SecretsMissing(Exception):
    """The secrets file cannot be read."""


@dataclass
class Outcome:
    """What bash left: the environment where all went well, else the command that failed."""

    environ: dict[bytes, bytes] | None
    ulimits: Ulimits
    secrets: dict[bytes, bytes]
    failed_command: str | None


class Startup:
    """One bash in a process group of its own. Its files lie in `directory`, which only its owner can read.

    The environments that it leaves hold secrets: they have no name in any file system, so that nothing is left of them
    whoever is killed.
    """

    def __init__(self, directory: str, commands: list[str], secrets_file: str | None) -> None:
        self._script = os.path.join(directory, "startup.sh")
        self._failed = os.path.join(directory, "failed-command")
        if secrets_file is not None and not os.access(secrets_file, os.R_OK):
            raise SecretsMissing(f"secrets file {secrets_file} cannot be read")
        self._environ, self._with_secrets, self._limits = (unnamed(directory) for _ in range(3))
        with open(self._script, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(self._text(commands, secrets_file))
        self._before: dict[bytes, bytes] = {}
        self._guard: Guard | None = None

    def _text(self, commands: list[str], secrets_file: str | None) -> str:
        quote = shlex.quote
        env, python = quote(shutil.which("env") or "env"), quote(sys.executable)
        lines = [_DUMP.format(env=env, python=python, program=quote(_PRINT))]
        if secrets_file is not None:
            # bash's own complaints about a malformed line would show the value
            source = f"{{ set +x; set -a; . {quote(secrets_file)} && set +a; }} 2>/dev/null"
            lines += [source + " || { echo 'the secrets file is not a list of NAME=VALUE' >&2; exit 1; }"]
        lines += [f"__node_agent_environ >&{self._with_secrets}", ulimits.definition(self._limits), ulimits.CALL]
        lines += ['__node_agent_failed() { printf %s "$1" > ' + quote(self._failed) + "; }"]
        # Without errtrace the trap names the command as it was written here, not one deep inside a function of it.
        lines += ["trap '__node_agent_failed \"$BASH_COMMAND\"' ERR", "set -e"]
        lines += commands
        lines += ["trap - ERR", ulimits.CALL, f"__node_agent_environ >&{self._environ}"]
        return "\n".join(lines) + "\n"

    def start(self, cwd: str, environ: dict[bytes, bytes], output: int) -> int:
        """The bash's pid; the caller waits for it."""
        self._before = environ
        agent = os.getpid()
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", self._script],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(self._environ, self._with_secrets, self._limits),
            start_new_session=True,
            preexec_fn=lambda: procs.die_with_parent(agent),
        )
        process.returncode = 0  # the agent reaps its children itself
        self._guard = Guard(process.pid)
        return process.pid

    def outcome(self) -> Outcome:
        """Contract: bash has ended; called once."""
        if self._guard is not None:
            self._guard.leave()
        environ, seen = _take_environ(self._environ), _take_environ(self._with_secrets) or {}
        secrets = {name: value for name, value in seen.items() if self._before.get(name) != value}
        failed: str | None = None
        if os.path.exists(self._failed):
            with open(self._failed, encoding="utf-8", errors="replace") as file:
                failed = file.read().strip()
        return Outcome(environ, ulimits.read(os.fsdecode(_take(self._limits))), secrets, failed)


class Guard:
    """A process that kills a group when the agent is gone: bash dies with the agent, what it waits for would go on.

    An attempt that follows would start the same download beside it.
    """

    _WAITS = 'read -r _; kill -9 "-$1"'  # the form that every sh has

    def __init__(self, group: int) -> None:
        read, self._alive = os.pipe()
        null = subprocess.DEVNULL
        words = ["sh", "-c", self._WAITS, "node-agent-guard", str(group)]
        process = subprocess.Popen(words, stdin=read, stdout=null, stderr=null, start_new_session=True)
        os.close(read)
        process.returncode = 0  # as above
        self._pid = process.pid

    def leave(self) -> None:
        """What the commands have left in the background stays."""
        procs.send(self._pid, signal.SIGKILL)
        os.close(self._alive)


def secrets_in(path: str | None) -> list[str]:
    """The values in a secrets file, before bash has read it; none where it is not as the launcher writes it."""
    try:
        with open(path or "", encoding="utf-8", errors="surrogateescape") as file:
            return [word.partition("=")[2] for word in shlex.split(file.read())]
    except (OSError, ValueError):
        return []


def unnamed(directory: str) -> int:
    """A descriptor of a file without a name: in memory, or where that is not to be had in `directory`, and unlinked."""
    try:
        fd = os.memfd_create("environ", 0)
    except (AttributeError, OSError):  # not Linux, or a container's seccomp filter
        fd, path = tempfile.mkstemp(dir=directory)
        os.unlink(path)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    finally:
        os.close(fd)


def _take(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _take_environ(fd: int) -> dict[bytes, bytes] | None:
    """What `env -0` wrote, or None where it wrote nothing."""
    pairs = [item.partition(b"=") for item in _take(fd).split(b"\0") if item]
    environ = {name: value for name, _, value in pairs if name not in _SHELL_ONLY}
    return environ or None
