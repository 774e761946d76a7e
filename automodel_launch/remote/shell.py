"""Running commands on the machine of a profile's jobs: this one, or another (ssh.py)."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from automodel_launch.errors import ClusterError

AT_ONCE = 8
"""Questions to one machine at a time: sshd takes 10 sessions a connection unless it was told otherwise."""


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


@dataclass(frozen=True)
class LocalShell:
    """This machine: a login node, or a laptop that is the cluster. `slurm_conf` is SLURM_CONF where it is not ours.

    The environment is this process's as it is: no start-up file is read, whoever has started it.
    """

    slurm_conf: str | None = None
    place = "this machine"

    def command(self, script: str) -> list[str]:
        """The process to start."""
        conf = f"export SLURM_CONF={shlex.quote(self.slurm_conf)}\n" if self.slurm_conf else ""
        return ["bash", "--norc", "-c", conf + script]

    def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
        """See Shell."""
        return as_text(self.run_bytes(script, data, timeout))

    def run_bytes(self, script: str, data: bytes = b"", timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Shell."""
        return start(self.command(script), data, timeout, self.place, _quiet())

    def attached(self, script: str) -> int:
        """See Shell."""
        quiet = subprocess.DEVNULL
        return subprocess.run(self.command(script), stdin=quiet, stdout=quiet, check=False, env=_quiet()).returncode


def as_text(done: tuple[int, bytes, bytes]) -> Done:
    """An answer in bytes as one in text."""
    return Done(done[0], done[1].decode(errors="replace"), done[2].decode(errors="replace"))


def start(
    command: list[str], data: bytes, timeout: float, place: str, env: Mapping[str, str] | None = None
) -> tuple[int, bytes, bytes]:
    """Run one process: its exit code, standard output and standard error.

    Raises:
        ClusterError: it has not ended within `timeout` seconds, or is not installed. `place` is for the message.
    """
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
                env=env,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{place}: no answer within {timeout:.0f} s.", "is it busy or down?") from error
        except FileNotFoundError as error:
            raise ClusterError(f"{error.filename} is not installed on this machine.") from error
        err.seek(0)
        return done.returncode, done.stdout, err.read()


def _quiet() -> dict[str, str]:
    """Bash reads the file that BASH_ENV names before each script, and ~/.bashrc too where it takes itself for the first
    shell behind sshd (SHLVL); what these print would be taken for an answer.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("BASH_ENV", "ENV")}
    return {**own, "SHLVL": "9"}
