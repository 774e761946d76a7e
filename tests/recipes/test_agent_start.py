"""What the node agent's start costs: modules that it imports and patterns that it compiles, counted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import patterns

RECIPES = Path(__file__).parents[2] / "recipes"

_HEAVY = {
    *("urllib", "ipaddress", "platform", "logging", "concurrent", "statistics"),
    *("fractions", "decimal", "socket", "email", "http", "ssl", "importlib.metadata", "tarfile", "multiprocessing"),
}
_COUNTED = """
import re, sys
compiled, compile = [], re.compile
def count(text, flags=0):
    where = sys._getframe(1).f_code.co_filename
    if where.startswith({recipes!r}):  # the standard library's own are another version's matter
        compiled.append(where.rpartition("/")[2])
    return compile(text, flags)
re.compile = count
sys.path.insert(0, {recipes!r})
before = set(sys.modules)
from node_agent_lib import {module}
import json
print(json.dumps([sorted(set(sys.modules) - before), compiled]))
"""


def counted(module: str) -> tuple[set[str], list[str]]:
    """The modules that a command of the agent's imports at its start, and the agent's files that compile a pattern."""
    program = _COUNTED.format(recipes=str(RECIPES), module=module)
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    names, compiled = json.loads(done.stdout)
    return set(names), compiled


_FOR_RANKS = {"subprocess", "shutil", "tempfile", "threading"}


@pytest.mark.parametrize(
    ("module", "modules", "also"),
    [
        ("start", 162, {"hashlib"}),
        ("begin", 132, {"hashlib"}),
        ("finish", 126, {"hashlib"}),
        ("worker", 97, _FOR_RANKS),
        ("what_ran", 40, _FOR_RANKS),
    ],
)
def test_a_command_imports_little_and_compiles_few_patterns(module: str, modules: int, also: set[str]) -> None:
    """They imported 202, 167, 155 and 117 modules, and `start` compiled 77 patterns."""
    names, compiled = counted(module)
    assert names & (_HEAVY | also) == set()
    assert set(compiled) <= {"contract.py", "secret_rules.py", "megatron_lines.py", "ran_with.py"}  # others', too
    assert sum(not name.startswith("_") for name in names) <= modules


def test_what_a_command_has_said_is_written_or_its_exit_code_tells(tmp_path: Path) -> None:
    """It ends without the interpreter's own end, which would see to that."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    (tmp_path / "agent.json").write_text('{"job_dir": "/elsewhere"}')  # a copy, which is refused
    command = [sys.executable, str(RECIPES / "node_agent.py"), "begin", str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "trap - EXIT"), done
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, env=environ, stdout=full, check=False).returncode == 120


def test_a_pattern_is_compiled_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = re.compile

    def count(text: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(text)
        return real(text, flags)

    monkeypatch.setattr(re, "compile", count)
    later = patterns.pattern(r"a(\d+)", re.IGNORECASE)
    assert compiled == []
    match = later.fullmatch("A17")
    assert match and match.group(1) == "17" and later.sub("-", "a1 b") == "- b" and later.pattern == r"a(\d+)"
    with pytest.raises(re.error):
        patterns.pattern("(").search("")
