"""What AutoModel's users write in YAML: `${NAME}` and `${NAME,default}`, `1e3` for an integer, numbers with a zero."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.config import overrides, yamlio
from automodel_launch.errors import ConfigError
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, refused

SHELL = {"CORPUS": "/lustre/corpus", "HF_TOKEN": "hf_abcdefghijklmnop", "seed": "9"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _planned(bench: Bench, text: str, *texts: str, environ: Mapping[str, str] = SHELL) -> Plan:
    return bench.planned(text, *texts, environ=environ)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${CORPUS}", "/lustre/corpus"),
        ("${CORPUS}/train", "/lustre/corpus/train"),
        ("${ CORPUS }", "/lustre/corpus"),
        ("${CORPUS,/else}", "/lustre/corpus"),
        ("${NOT_SET,/else where: (a) [b] 'c' #d}", "/else where: (a) [b] 'c' #d"),
        ('${NOT_SET,a "b" \\"c\\" \\\\ d}', 'a "b" \\"c\\" \\\\ d'),
        ("${NOT_SET,c:\\d\\}", "c:\\d\\"),
        ("${NOT_SET,$HOME/x y}", "$HOME/x y"),
        ("${NOT_SET,}", ""),
        ("${NOT_SET, 5 }", "5"),
        ("${NOT_SET,null}", "null"),
        ("${seed}", 7),
        ("${seed,5}", "9"),
        ("${a.b}", 1),
        ("${CORPUS}-${seed}-${oc.env:CORPUS}", "/lustre/corpus-7-/lustre/corpus"),
    ],
)
def test_a_bare_name_is_a_key_of_the_config_or_a_variable(bench: Bench, written: str, value: Any) -> None:
    plan = _planned(bench, yamlio.dump({"seed": 7, "a": {"b": 1}, "x": written, "l": [{"y": written}]}))
    assert plan.config["x"] == value
    assert plan.config["l"][0]["y"] == value


def test_a_secret_stays_a_reference_that_the_job_resolves(bench: Bench) -> None:
    plan = _planned(bench, "cloud: {token: '${HF_TOKEN}', other: '${HF_TOKEN,none}', rank: '${RANK,0}'}\n")
    assert dict(plan.config["cloud"]) == {
        "token": "${oc.env:HF_TOKEN}",
        "other": "${oc.env:HF_TOKEN,none}",
        "rank": "${oc.env:RANK,0}",
    }
    assert plan.deferred == ("HF_TOKEN", "RANK")
    assert SHELL["HF_TOKEN"] not in str(plan.document()) + plan.texts["config.yaml"]


def test_the_profiles_variables_win_over_this_shells(bench: Bench) -> None:
    plan = _planned(bench, "x: ${CORPUS}\n", "run.env.env_vars.CORPUS=/other")
    assert plan.config["x"] == "/other"


def test_a_name_that_nothing_sets_is_a_variable_or_a_misspelt_key(bench: Bench) -> None:
    text = "seed: 7\nx: ${sede}\n"
    refused(ConfigError, lambda: _planned(bench, text), "variable sede", "x (stub/t.yaml:2)", "'seed'")
    text = "seed: 7\nx: ${NOT_SET}\ny: ${oc.env:NOT_SET}\n"
    message = refused(ConfigError, lambda: _planned(bench, text), "x (stub/t.yaml:2)", "y (stub/t.yaml:3)", "export")
    assert "Did you mean" not in message


def test_in_the_launchers_own_section_there_is_no_bare_name(bench: Bench) -> None:
    text = "steps: 1\nrun: {env: {startup_commands: ['cd ${CORPUS}']}}\n"
    refused(ConfigError, lambda: _planned(bench, text), "CORPUS")


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000), ("1E+3", 1000), ("2.0", 2), ("-1e1", -10)])
def test_a_whole_number_is_an_integer_however_it_is_written(bench: Bench, text: str, value: int) -> None:
    for override in (f"s.max_steps={text}", f"--s.max_steps={text}"):
        found = _planned(bench, "s: {max_steps: 150}\n", override).config["s"]["max_steps"]
        assert (found, type(found)) == (value, int)


@pytest.mark.parametrize(("text", "hint"), [("2.6", "=3"), ("1e-3", "=1000"), ("many", "=150"), (".inf", "=150")])
def test_a_hint_at_an_integer_is_near_what_was_written(bench: Bench, text: str, hint: str) -> None:
    words = ("an integer", "150 in stub/t.yaml:1", f"s.max_steps{hint},")
    refused(ConfigError, lambda: _planned(bench, "s: {max_steps: 150}\n", f"s.max_steps={text}"), *words)


@pytest.mark.parametrize("value", ["0100", "-0100", "+0100", "0_100", "00", "[1, 0100]", "{a: {b: 0100}}"])
def test_a_number_that_begins_with_a_zero_is_refused_with_what_it_would_be(bench: Bench, value: str) -> None:
    number = "0" if value == "00" else "64"
    words = (number, "octal", "begins with a zero", "quotes")
    for override in (f"x={value}", f"+y={value}", f"--x={value}"):
        refused(ConfigError, partial(overrides.parse, override), f"override {override}", *words)
    refused(ConfigError, lambda: _planned(bench, f"seed: 1\nx: {value}\n"), "t.yaml:2", *words)


@pytest.mark.parametrize(
    ("value", "read"),
    [("0", 0), ("-0", 0), ("0.5", 0.5), ("0x40", 64), ("0o100", 64), ("0b11", 3), ("'0100'", "0100"), ("08", "08")],
)
def test_other_numbers_with_a_zero_are_as_they_were(bench: Bench, value: str, read: Any) -> None:
    assert overrides.parse(f"x={value}").value == read
    assert _planned(bench, f"x: {value}\n").config["x"] == read


def test_a_zero_before_a_string_of_the_profile_is_kept(bench: Bench) -> None:
    assert overrides.parse("run.env.account=0012").value == "0012"
    assert dict(bench.plan("run.env.env_vars.X=010").profile.env_vars) == {"X": "010"}
