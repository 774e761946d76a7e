"""Remote probes: many small scripts on one machine, in parallel and in one round trip as long as the slowest."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass

from automodel_launch.remote.shell import Shell

EACH_S = 8  # time for one probe
ALL_S = 10  # and for all of them; the connection has its own limit
LATE = 124  # `timeout`'s exit code
_FIRST_FD = 11  # bash keeps 10 for itself

# A line of output gets a blank before it, so that neither it nor what a login prints is taken for a result's head.
PRINT_RESULT = r"""newline=$'\n'
print_result() { printf '@%s %s\n %s\n' "$1" "$2" "${3//$newline/$newline }"; }
"""
_PROLOGUE = r"""
began=$(date +%s.%N)
exec 3<&0 < /dev/null
export LC_ALL=C
# macOS has none. -m: a process group of its own, so that what the command has started ends with it; bash tells of each
# such group on its own stderr.
command -v timeout >/dev/null || timeout() ( # -k SECONDS SECONDS COMMAND...
  exec 4>&2 2>/dev/null
  set -m
  "${@:4}" 2>&4 4>&- & command=$!
  { sleep "$3"; kill -KILL -- "-$command"; } </dev/null >/dev/null 4>&- & clock=$!
  wait "$command"; code=$?
  kill -KILL -- "-$clock"
  exit "$code"
)
probe() {
  local out code
  out=$(timeout -k 1 SECONDS_EACH bash -c "$2" 2>&1); code=$?
  print_result "$1" "$code" "$out"
}
"""
_EPILOGUE = 'print_result took 0 "$(date +%s.%N) $began"\n'
_HEAD = re.compile(r"^@(\w+) (\d+)$")


@dataclass(frozen=True)
class Result:
    """A probe's exit code and its output, standard error included."""

    code: int
    text: str

    @property
    def brief(self) -> str:
        """The output in one line of at most 300 characters, for a message."""
        if self.code in (LATE, 137):  # 137: killed after it
            return f"no answer within {EACH_S} s"
        return " ".join(self.text.split())[:300] or f"exit code {self.code}"


@dataclass(frozen=True)
class Results:
    """The results by the probes' names, and the seconds that connection and transfer took."""

    results: dict[str, Result]
    connection_s: float

    def __getitem__(self, name: str) -> Result:
        return self.results.get(name, Result(LATE, ""))


def run(shell: Shell, scripts: Mapping[str, str], data: bytes = b"") -> Results:
    """Run bash scripts, each by a name; `data` is what they read from file descriptor 3.

    Raises:
        ClusterError: the machine cannot be reached, or does not answer.
    """
    began = time.monotonic()
    done = shell.run(_script(scripts), data, timeout=ALL_S)
    results = parse(done.out)
    return Results(results, max(0.0, time.monotonic() - began - _spent(results.pop("took", None))))


def _script(scripts: Mapping[str, str]) -> str:
    calls = [f"probe {name} {shlex.quote(script)}" for name, script in scripts.items()]
    opened = " ".join(f"{fd}< <({text})" for fd, text in enumerate(calls, _FIRST_FD))
    read = " ".join(f"/dev/fd/{fd}" for fd, _ in enumerate(calls, _FIRST_FD))
    return f"{PRINT_RESULT}{_PROLOGUE.replace('SECONDS_EACH', str(EACH_S))}exec {opened}\ncat {read}\n{_EPILOGUE}"


def parse(text: str) -> dict[str, Result]:
    """Read the script's output."""
    codes: dict[str, int] = {}
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            name = head[1]
            codes[name], lines[name] = int(head[2]), []
        elif line.startswith(" ") and name:
            lines[name].append(line[1:])
    return {name: Result(code, "\n".join(lines[name]).strip()) for name, code in codes.items()}


def _spent(took: Result | None) -> float:
    ended, _, began = took.text.partition(" ") if took else ("", "", "")
    try:
        return float(ended) - float(began)
    except ValueError:  # a `date` without %N
        return 0.0
