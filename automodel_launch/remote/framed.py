"""A bash script for a machine of which nothing is known but that ssh gets there, and its answer, to the byte.

What runs there first is a login shell of any kind (bash, zsh, tcsh, fish) with start-up files of any content: they may
print, read standard input, run another shell, or end. So the words for it are ones that every shell takes alike; the
script comes through standard input, up to a NUL, and what follows is its own input; and what it writes stands between
marks that nothing else prints. No start-up file is read a second time.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from automodel_launch.errors import ClusterError

# SHLVL: bash reads ~/.bashrc again where it takes itself for the first shell behind sshd.
# No single quote, backslash, line break or `!` within: tcsh and fish have their own ideas of those. Marks are not
# written as they are printed, so a shell that shows its commands (set -v) prints none.
_START = (
    'unset BASH_ENV ENV; SHLVL=9; echo {mark}-"begin"; {errors}IFS= read -r -d "" s; '
    'case $s in "{first}"*) (eval "${{s#*{mark}}}"); c=$?; echo; echo {mark}-"end" $c; exit $c;; '
    '*) echo {mark}-"eaten"; exit 97;; esac'
)
_FILES = "~/.bashrc, ~/.zshenv or ~/.cshrc there"
_NO_BASH = re.compile(r"\bbash: (command )?not found|(not found|unknown command|not find command)\W+bash", re.I)
_INTERACTIVE = f"in {_FILES}: leave what is for people to interactive shells: case $- in *i*) ... ;; esac"


@dataclass(frozen=True)
class Frame:
    """One call: the words for the login shell, what goes to its standard input, and what is found in its output."""

    mark: str = field(default_factory=lambda: f"launch-{secrets.token_hex(8)}")

    @property
    def _first(self) -> str:
        """The first line of the input. Another shell that a start-up file has run would take the rest for commands."""
        return f"exit 97 # {self.mark}"

    def command(self, mark_errors: bool = True) -> str:
        """The words for the login shell; what comes to standard error before the script is marked off, too, or not."""
        errors = f'echo {self.mark}-"begin" >&2; ' if mark_errors else ""
        return f"exec bash --norc -c '{_START.format(mark=self.mark, errors=errors, first=self._first)}'"

    def input(self, script: str, data: bytes = b"") -> bytes:
        """What it reads."""
        return f"{self._first}\n{script}".encode("utf-8", "surrogateescape") + b"\0" + data

    def begun(self, out: bytes) -> bool:
        """The script's turn has come."""
        return self._begin in out

    def answer(self, out: bytes, err: bytes, place: str) -> tuple[int, bytes, bytes] | None:
        """The script's exit code and its own output; None where the connection ended before it.

        Raises:
            ClusterError: a start-up file of the login shell on `place` has kept the script from running.
        """
        if not self.begun(out):
            lines = (err or out).decode(errors="replace").splitlines()
            theirs = " ".join(line for line in lines if self.mark not in line)  # fish shows ours
            words = " ".join(theirs.split())[-300:]
            if _NO_BASH.search(words):
                raise ClusterError(f"{place}: bash is not on the PATH: {words}", f"install it, or set PATH in {_FILES}")
            what = "the login shell ends, or runs another one, before it comes to our command"
            raise ClusterError(f"{place}: {what}: {words or 'it says nothing'}", _INTERACTIVE)
        said = out.partition(self._begin)[2]
        if said.startswith(f"{self.mark}-eaten".encode()):
            what = "a start-up file of the login shell reads standard input, and has taken our script"
            raise ClusterError(f"{place}: {what}.", f"in {_FILES}: `</dev/null` behind what reads (ssh, srun, read)")
        own, end, rest = said.rpartition(f"\n{self.mark}-end ".encode())
        if not end:
            return None
        return int(rest.split(b"\n")[0]), own, err.rpartition(self._begin)[2]

    @property
    def _begin(self) -> bytes:
        return f"{self.mark}-begin\n".encode()
