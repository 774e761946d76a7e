"""What a sweep varies, from the command line and from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch.config import sweeps
from automodel_launch.config.overrides import parse
from automodel_launch.errors import LaunchError


def _settings(swept: list[str], file: str | None = None) -> list[list[str]]:
    return [list(spec.settings.values()) for spec in sweeps.points(swept, file)]


def test_the_product_with_the_last_key_fastest() -> None:
    assert _settings(["a.b=1,2", "+c=x,y"]) == [
        ["a.b=1", "+c=x"],
        ["a.b=1", "+c=y"],
        ["a.b=2", "+c=x"],
        ["a.b=2", "+c=y"],
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,3e-4", ["1e-4", "3e-4"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("{a: 1, b: 2},null", ["{a: 1, b: 2}", "null"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("it's,that's", ["it's", "that's"]),
        ("['x,]',y],z", ["['x,]',y]", "z"]),
    ],
)
def test_commas_that_belong_to_a_value(text: str, values: list[str]) -> None:
    assert sweeps.split_values(text) == values


def test_a_file_of_each_section(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("grid: {a: [1e-4, 2]}\nzip: {b: [x, y], c: [true, null]}\n")
    assert _settings([], str(file)) == [
        [f"a={a}", f'b="{b}"', f"c={c}"] for a in ("0.0001", "2") for b, c in (("x", "true"), ("y", "null"))
    ]
    file.write_text("points: {small: {a: 1}, large: {a: [1, 2], b: 3}}\n")
    named = sweeps.points([], str(file))
    assert [(spec.name, spec.settings) for spec in named] == [
        ("small", {"a": "a=1"}),
        ("large", {"a": "a=[1, 2]", "b": "b=3"}),
    ]


@pytest.mark.parametrize(
    ("swept", "text", "said"),
    [
        (["a"], None, "expected KEY=VALUE"),
        (["a="], None, "the list of values is empty"),
        (["a=1,,2"], None, "a value is empty"),
        (["a=1", "a=2"], None, "swept twice"),
        (["~a=1"], None, "not a key"),
        (["fixed=1,2"], None, "set for all points"),
        ([], "grid: {a: 1}", "is a list of values"),
        ([], "grid: {a: []}", "is a list of values"),
        ([], "zip: {a: [1], b: [1, 2]}", "different lengths"),
        ([], "list: []", "a list of mappings"),
        ([], "gird: {a: [1]}", "Did you mean 'grid'"),
        ([], "", "no point is given"),
        ([], "points: {yes: {a: 1}}", "True is no name of a point"),
        (["b=1"], "points: {x: {a: 1}}", "names all points"),
        (["a=" + ",".join(map(str, range(200))), "b=" + ",".join(map(str, range(200)))], None, "40,000 points"),
    ],
)
def test_what_is_refused(swept: list[str], text: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LaunchError) as refused:
        sweeps.points(swept, None if text is None else str(file), ["fixed"])
    assert said in refused.value.message and refused.value.exit_code == 2


def test_infinity_stays_a_number_and_a_bad_key_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("grid: {a.b: [.inf, -.inf, .nan]}\n")
    made = [parse(text).value for spec in sweeps.points([], str(path)) for text in spec.settings.values()]
    assert [str(value) for value in made] == ["inf", "-inf", "nan"] and all(type(value) is float for value in made)
    path.write_text("grid: {1: [2]}\n")
    with pytest.raises(LaunchError, match=r"f\.yaml: grid: '1=2' is not understood"):
        sweeps.points([], str(path))
    with pytest.raises(LaunchError, match="is a directory"):
        sweeps.points([], str(tmp_path))
