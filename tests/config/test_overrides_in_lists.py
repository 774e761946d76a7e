"""Entries of lists are overridden by their numbers, in configs for AutoModel and for data preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automodel_launch import api
from automodel_launch.errors import ConfigError
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, refused

TEXT = """\
datasets:
  - {name: web, path: /web, weight: 0.7}
  - {name: notes, path: /notes, weight: 0.3, parts: [a, b]}
paths: [/a, /b]
empty: []
deep: {list: [[1, 2], [3]]}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _plan(bench: Bench, *texts: str) -> Plan:
    return bench.planned(TEXT, *texts)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("datasets.0.path=/x", "datasets", ["/x", "/notes"]),
        ("--datasets.1.path=/x", "datasets", ["/web", "/x"]),
        ("+datasets.0.path=/x", "datasets", ["/x", "/notes"]),
        ("+datasets.2={path: /x}", "datasets", ["/web", "/notes", "/x"]),
        ("+datasets.2.path=/x", "datasets", ["/web", "/notes", "/x"]),
        ("~datasets.0", "datasets", ["/notes"]),
        ("datasets.0={path: /x}", "datasets", ["/x", "/notes"]),
    ],
)
def test_an_entry_is_set_added_or_removed(bench: Bench, text: str, key: str, value: list[str]) -> None:
    assert [entry["path"] for entry in _plan(bench, text).config[key]] == value


def test_lists_of_values_and_lists_in_lists(bench: Bench) -> None:
    plan = _plan(bench, "paths.1=/x", "+paths.2=/y", "deep.list.0.1=9", "datasets.1.parts.0=c", "+empty.0=1")
    assert plan.config["paths"] == ["/a", "/x", "/y"]
    assert plan.config["deep"]["list"] == [[1, 9], [3]]
    assert plan.config["datasets"][1]["parts"] == ["c", "b"]
    assert plan.config["empty"] == [1]


def test_a_new_key_of_an_entry_needs_a_plus(bench: Bench) -> None:
    refused(ConfigError, lambda: _plan(bench, "datasets.0.format=text"), "datasets.0.format", "+datasets.0.format")
    assert _plan(bench, "+datasets.0.format=text").config["datasets"][0]["format"] == "text"
    refused(ConfigError, lambda: _plan(bench, "datasets.0.pth=/x"), "'datasets.0.path'")
    refused(ConfigError, lambda: _plan(bench, "parts=[c]"), "'datasets.1.parts'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("datasets.2.path=/x", ("'datasets' is a list of 2", "'2'", "first entry is datasets.0;", "+datasets.2=")),
        ("datasets.2={}", ("a list of 2", "+datasets.2=")),
        ("+datasets.3={}", ("+datasets.2=",)),
        ("~datasets.2", ("a list of 2", "datasets.0")),
        ("datasets.-1.path=/x", ("'-1'",)),
        ("datasets.web.path=/x", ("'web'", "datasets.0")),
        ("datasets.path=/x", ("'path'", "datasets.0")),
        ("empty.0=1", ("'empty' is a list of 0", "+empty.0=")),
        ("datasets.0.weight=heavy", ("datasets.0.weight is a number", "0.7")),
        ("datasets.0={path: 5", ("not YAML",)),
        ("paths.0.x=1", ("'0' holds '/a'",)),
    ],
)
def test_an_entry_that_is_not_there_is_refused_with_those_that_are(
    bench: Bench, text: str, words: tuple[str, ...]
) -> None:
    refused(ConfigError, lambda: _plan(bench, text), f"override {text}", *words)


def test_the_source_of_the_list_names_each_override_and_the_file(bench: Bench) -> None:
    plan = _plan(bench, "datasets.0.path=/x", "datasets.1.path=/y")
    source = plan.provenance["datasets"]
    assert source.startswith("override datasets.1.path=/y, over override datasets.0.path=/x, over stub/t.yaml:1")
    assert "datasets.0.path" not in plan.provenance


def test_data_preparations_datasets_are_overridden_by_their_number() -> None:
    options: dict[str, Any] = {"offline": True}
    plan = api.plan(
        "data-prep", "default", overrides=["datasets.0.path=/mine/*.jsonl", "+datasets.1.weight=0.5"], **options
    )
    assert plan.config["datasets"][0]["path"] == "/mine/*.jsonl"
    assert plan.config["datasets"][1]["weight"] == 0.5
    same = api.plan("data-prep", "default", overrides={"datasets.0.path": "/mine/*.jsonl"}, **options)
    assert same.config["datasets"][0]["path"] == "/mine/*.jsonl"


def test_automodels_paths_are_overridden_by_their_number() -> None:
    given = ["dataset.paths=[/a, /b]", "dataset.paths.1=/c"]
    assert api.plan("pretrain", "tiny", overrides=given, offline=True).config["dataset"]["paths"] == ["/a", "/c"]
