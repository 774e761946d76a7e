"""Many questions to one place in one round trip, asked side by side: the slowest decides how long it takes."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass

from automodel_launch.remote.shell import Shell

EACH_S = 8  # time for one question
ALL_S = 10  # and for all of them; the connection has its own limit
LATE = 124  # `timeout`'s exit code
_FIRST_FD = 11  # bash keeps 10 for itself

# A line of an answer begins with a blank, so nothing that it holds, and nothing that a login prints, is taken for one.
_PROLOGUE = r"""
began=$(date +%s.%N) newline=$'\n'
exec 3<&0 < /dev/null
export LC_ALL=C
print() { printf '@%s %s\n %s\n' "$1" "$2" "${3//$newline/$newline }"; }
ask() {
  local out code
  out=$(timeout -k 1 SECONDS_EACH bash -c "$2" 2>&1); code=$?
  print "$1" "$code" "$out"
}
"""
_EPILOGUE = 'print took 0 "$(date +%s.%N) $began"\n'
_ANSWER = re.compile(r"^@(\w+) (\d+)$")


@dataclass(frozen=True)
class Answer:
    """A question's exit code and its output, errors included."""

    code: int
    text: str

    @property
    def brief(self) -> str:
        """The output in one line, not too long a one, for a message."""
        if self.code in (LATE, 137):  # 137: killed after it
            return f"no answer within {EACH_S} s"
        return " ".join(self.text.split())[:300] or f"exit code {self.code}"


@dataclass(frozen=True)
class Answers:
    """What was answered, by the questions' names, and the time that the way there and back took."""

    found: dict[str, Answer]
    way_s: float

    def __getitem__(self, name: str) -> Answer:
        return self.found.get(name, Answer(LATE, ""))


def ask(shell: Shell, questions: Mapping[str, str], data: bytes = b"") -> Answers:
    """Ask bash scripts by name; `data` is what they read from file descriptor 3.

    Raises:
        ClusterError: the place cannot be reached, or does not answer.
    """
    began = time.monotonic()
    done = shell.run(_script(questions), data, timeout=ALL_S)
    found = parse(done.out)
    return Answers(found, max(0.0, time.monotonic() - began - _spent(found.pop("took", None))))


def _script(questions: Mapping[str, str]) -> str:
    asked = [f"ask {name} {shlex.quote(text)}" for name, text in questions.items()]
    opened = " ".join(f"{fd}< <({text})" for fd, text in enumerate(asked, _FIRST_FD))
    read = " ".join(f"/dev/fd/{fd}" for fd, _ in enumerate(asked, _FIRST_FD))
    return f"{_PROLOGUE.replace('SECONDS_EACH', str(EACH_S))}exec {opened}\ncat {read}\n{_EPILOGUE}"


def parse(text: str) -> dict[str, Answer]:
    """Read the script's output."""
    codes: dict[str, int] = {}
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = _ANSWER.match(line)
        if head:
            name = head[1]
            codes[name], lines[name] = int(head[2]), []
        elif line.startswith(" ") and name:
            lines[name].append(line[1:])
    return {name: Answer(code, "\n".join(lines[name]).strip()) for name, code in codes.items()}


def _spent(took: Answer | None) -> float:
    ended, _, began = took.text.partition(" ") if took else ("", "", "")
    try:
        return float(ended) - float(began)
    except ValueError:  # a `date` without %N
        return 0.0
