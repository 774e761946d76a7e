"""What the node agent's start costs: modules that it imports and patterns that it compiles, counted; and what stands in
for the standard library's modules that were too much, against those."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import patterns, redaction, stall, values

RECIPES = Path(__file__).parents[2] / "recipes"

_HEAVY = {
    *("dataclasses", "inspect", "ast", "dis", "urllib", "ipaddress", "platform", "logging", "concurrent", "statistics"),
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
        ("start", 155, {"hashlib"}),
        ("begin", 126, {"hashlib"}),
        ("finish", 120, {"hashlib"}),
        ("worker", 85, _FOR_RANKS),
        ("what_ran", 35, _FOR_RANKS),
        ("ran_with", 30, _FOR_RANKS),
    ],
)
def test_a_command_imports_little_and_compiles_few_patterns(module: str, modules: int, also: set[str]) -> None:
    """They imported 202, 167, 155, 117 and 62 modules, and `start` compiled 77 patterns."""
    names, compiled = counted(module)
    assert names & (_HEAVY | also) == set()
    assert set(compiled) <= {"contract.py", "secret_rules.py", "megatron_lines.py", "ran_with.py"}  # others', too
    assert sum(not name.startswith("_") for name in names) <= modules


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


# values as those of dataclasses


def both(frozen: bool = False, eq: bool = True) -> list[Any]:
    """The same class by either decorator, with a class that it holds."""
    found = []
    for module in (values, dataclasses):
        make: Any = module

        class Inner:
            at: int

        class Outer:
            name: str
            step: int | None = None
            inner: Any = None
            many: list[Any] = make.field(default_factory=list)

        inner = make.dataclass(Inner)
        found.append((make, inner, make.dataclass(frozen=frozen, eq=eq)(Outer)))
    return found


def test_values_are_made_shown_compared_and_copied_as_those_of_dataclasses() -> None:
    told = []
    for make, inner, outer in both():
        one = outer("a", 3, inner(1), [inner(2), {"k": (inner(3),)}])
        other = outer(name="a", inner=inner(1), step=3, many=[inner(2), {"k": (inner(3),)}])
        plain = make.asdict(one)
        later = make.replace(one, step=4)
        fresh = outer("b")
        assert fresh.many is not outer("b").many and plain["many"] is not one.many
        one.step = 5
        told.append(
            (repr(other).replace(outer.__qualname__, "Outer").replace(inner.__qualname__, "Inner"), plain, later.step)
        )
        assert other == outer("a", 3, inner(1), [inner(2), {"k": (inner(3),)}]) and one != other and one != "a"
        assert later.inner is one.inner and vars(fresh) == {"name": "b", "step": None, "inner": None, "many": []}
        for wrong in ([], ["a", 1, 2, [], 5]):
            with pytest.raises(TypeError):
                outer(*wrong)
        for named in ({"other": 1}, {"name": "b"}):
            with pytest.raises(TypeError):
                outer("a", **named)
        with pytest.raises(TypeError):
            hash(one)
        with pytest.raises(TypeError):
            make.replace(one, other=1)
    assert told[0] == told[1]


def test_frozen_ones_are_not_changed_and_can_be_keys() -> None:
    for _, inner, outer in both(frozen=True):
        one, other = outer("a", many=()), outer("a", many=())
        assert {one: 1}[other] == 1
        with pytest.raises(AttributeError):
            one.step = 4
        with pytest.raises(AttributeError):
            del one.step
        del inner
    for _, _, outer in both(frozen=True, eq=False):
        assert outer("a") != outer("a") and len({outer("a"), outer("a")}) == 2


def test_every_class_of_values_of_the_agent_takes_what_it_says() -> None:
    """As dataclasses would take the same source: names, their order, and what may be left out."""
    program = (
        "import sys, importlib, pkgutil\nif sys.argv[2] == 'theirs':\n import dataclasses\n import types\n"
        " stand = types.ModuleType('node_agent_lib.values')\n"
        " for name in ('asdict', 'dataclass', 'field', 'replace'): setattr(stand, name, getattr(dataclasses, name))\n"
        " stand.names = lambda kind: tuple(f.name for f in dataclasses.fields(kind))\n"
        " sys.modules['node_agent_lib.values'] = stand\n"
        "sys.path.insert(0, sys.argv[1])\nimport node_agent_lib\nfrom node_agent_lib.values import names\n"
        "marks = ('__agent_fields__', '__dataclass_fields__')\n"
        "for found in pkgutil.walk_packages(node_agent_lib.__path__, 'node_agent_lib.'):\n"
        " module = importlib.import_module(found.name)\n"
        " for name, kind in sorted(vars(module).items()):\n"
        "  if isinstance(kind, type) and kind.__module__ == found.name and any(mark in vars(kind) for mark in marks):\n"
        "   print(kind.__module__, name, names(kind), kind.__hash__ is None,\n"
        "    sorted(key for key in names(kind) if key in vars(kind)))\n"
    )
    said = [
        subprocess.run([sys.executable, "-c", program, str(RECIPES), whose], capture_output=True, text=True, check=True)
        for whose in ("ours", "theirs")
    ]
    assert said[0].stdout == said[1].stdout and said[0].stdout.count("\n") > 25


@pytest.mark.parametrize("value", ["plain", "a b/c+d", "p@ss:w%rd", "ä€\udc80", "~_.-", "\n\t", ""])
def test_secrets_are_looked_for_as_urllib_quotes_them(value: str) -> None:
    raw = value.encode("utf-8", "surrogateescape")
    assert redaction._quoted(raw, "/") == quote(raw)
    assert redaction._quoted(raw, "") == quote(raw, safe="")
    assert redaction._quoted(raw, " ").replace(" ", "+") == quote_plus(raw)


@pytest.mark.parametrize("numbers", [[3.0], [4.0, 1.0], [5.0, 1.0, 9.0], [2.0, 2.0, 7.0, 1.0]])
def test_the_median_is_that_of_statistics(numbers: list[float]) -> None:
    import statistics

    assert stall.median(numbers) == statistics.median(numbers)
