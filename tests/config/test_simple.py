"""Plain references are replaced without OmegaConf, and as it replaces them."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.config import interpolation, simple
from automodel_launch.config.envscope import EnvScope
from automodel_launch.config.merge import MergedConfig
from automodel_launch.errors import ConfigError
from tests.conftest import ROOT

ENVIRON = {"A": "1", "B": "${x}", "C": "a b", "D": "", "E": "???"}
NAMES = (*ENVIRON, "JOBS", "NOPE", "null", "RANK", "MY_TOKEN")
KEYS = ("a", "b", "c", "run", "model", "x", "null", "true", "A", "JOBS")
OTHERS = (
    *("${A}", "${A,2}", "${.a}", "${..b}", "${a.0}", "${ a }", "${oc.env:NOPE,3}", r"\${a}", "${oc.select:a.b,3}"),
    *("${${a}}", "${unclosed", "$", "\\", "${a.b.}", "${}", "${NOPE}", "${oc.env:JOBS,5}", "${a.b[0]}"),
)
PLAIN = (1, 0, True, None, 1.5, 1e-5, "s", "", "???", "a: b", '"q"', "'", "#", " lead", "{", "[1]", "é", "true", 10**30)


class Written:
    """Configs by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def config(self) -> dict[str, Any]:
        return {self.chance.choice(KEYS): self._value(0) for _ in range(self.chance.randint(1, 5))}

    def _value(self, depth: int) -> Any:
        kind = self.chance.random()
        if depth < 3 and kind < 0.4:
            return {self.chance.choice(KEYS): self._value(depth + 1) for _ in range(self.chance.randint(0, 3))}
        if depth < 3 and kind < 0.5:
            return [self._value(depth + 1) for _ in range(self.chance.randint(0, 3))]
        if kind < 0.75:
            return "".join(self._part() for _ in range(self.chance.choice((1, 1, 1, 2, 3))))
        return self.chance.choice(PLAIN)

    def _part(self) -> str:
        kind = self.chance.random()
        if kind < 0.4:
            return f"${{{'.'.join(self.chance.choices(KEYS, k=self.chance.randint(1, 3)))}}}"
        if kind < 0.55:
            return f"${{oc.env:{self.chance.choice(NAMES)}}}"
        return self.chance.choice(("x", "/", " ") if kind < 0.85 else OTHERS)


def _resolved(data: dict[str, Any]) -> Any:
    scope = EnvScope(ENVIRON, job_only=frozenset({"JOBS"}))
    try:
        found = interpolation.interpolate(MergedConfig("t", Path("t.yaml"), data), data, scope)
    except ConfigError as error:
        return re.sub("(depth exceeded)[^.]*", r"\1", str(error)), error.hint  # where, depends on the stack
    return repr(found), scope.kept, scope.missing


@pytest.mark.filterwarnings("ignore:Resolver 'launch.env'")
@pytest.mark.parametrize("seed", range(3))
def test_it_is_as_if_all_went_through_omegaconf(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(seed)
    configs = [written.config() for _ in range(150)]
    found = [_resolved(config) for config in configs]
    assert sum(len(one) == 3 for one in found) > 30, "nearly all are refused"
    monkeypatch.setattr(simple, "replaced", lambda data, _: data)
    for config, one in zip(configs, found, strict=True):
        assert one == _resolved(config), config


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"x": "${a.b}", "a": {"b": "${c}/b", "l": ["${c}", "${a.n}"], "n": 2}, "c": "${oc.env:C}"}, "a b/b"),
        ({"x": "${a}", "a": {"b": [1, {"c": "${oc.env:A}"}], "d": None}}, {"b": [1, {"c": "1"}], "d": None}),
        ({"x": "${a}-${b}-${oc.env:D}", "a": 1, "b": ""}, "1--"),
    ],
)
def test_nothing_is_left_of_plain_ones(more: dict[str, Any], expected: Any) -> None:
    found = simple.replaced(more, ENVIRON.get)
    assert found["x"] == expected and "${" not in repr(found)
    assert found["x"] is not found.get("a")


@pytest.mark.parametrize(
    "text",
    [
        *("${a}", "${oc.env:B}", "${oc.env:E}", "${oc.env:NOPE}", "${oc.env:null}", r"\${c} ${c}", "${c.d}"),
        *("x${n.float}", "x${n.bool}", "x${n.none}", "x${n}", "${n.must}"),
    ],
)
def test_what_means_something_else_to_omegaconf_is_left(text: str) -> None:
    data = {"x": text, "a": "${x}", "n": {"float": 1.5, "bool": True, "none": None, "must": "???"}, "c": "c"}
    assert simple.replaced(data, {**ENVIRON, "null": "1"}.get)["x"] == text


def test_a_section_within_a_text_leaves_all_to_omegaconf() -> None:
    """Which writes it as it stands."""
    data = {"x": "all: ${n}", "y": "${z}", "z": 1, "n": {"a": "${z}"}}
    assert simple.replaced(data, ENVIRON.get) == data


def test_omegaconf_is_not_imported_for_them() -> None:
    code = (
        "import sys; from pathlib import Path; from automodel_launch.config import envscope, interpolation, merge\n"
        "data = {'x': '${run.dir}/${oc.env:A}', 'run': {'dir': '/d'}}\n"
        "written = merge.MergedConfig('t', Path('t.yaml'), data)\n"
        "found = interpolation.interpolate(written, data, envscope.EnvScope({'A': '1'}))\n"
        "assert found['x'] == '/d/1' and 'omegaconf' not in sys.modules, found\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
