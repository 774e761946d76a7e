"""YAML as AutoModel's users write it, with the line of each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch.config import yamlio
from automodel_launch.errors import ConfigError
from tests.workbench import refused


def _read(folder: Path, text: str | bytes) -> yamlio.Document:
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return yamlio.read(path)


def test_numbers_times_and_texts(tmp_path: Path) -> None:
    text = "a: 1e-4\nb: 04:00:00\nc: 2024-01-01\nd: 1_000\ne: .5\nf: 1.e5\ng: '1e-4'\nh: -.inf\ni: 08\nj: 0o17\nk: on\n"
    data = _read(tmp_path, text).data
    assert data == {
        **{"a": 1e-4, "b": "04:00:00", "c": "2024-01-01", "d": 1000, "e": 0.5, "f": 1e5, "g": "1e-4"},
        **{"h": float("-inf"), "i": "08", "j": 15, "k": True},
    }


def test_each_key_has_its_line(tmp_path: Path) -> None:
    document = _read(tmp_path, "# head\na:\n  b: 1\n\n  c:\n    - x\n    - y\nd: {e: 1,\n  f: 2}\n")
    assert document.lines == {"a": 2, "a.b": 3, "a.c": 5, "d": 8, "d.e": 8, "d.f": 9}


def test_a_merge_key_has_the_line_of_what_it_brings(tmp_path: Path) -> None:
    document = _read(tmp_path, "base: &b\n  x: 1\n  y: 2\nc:\n  <<: *b\n  y: 3\n")
    assert document.data["c"] == {"x": 1, "y": 3}
    assert (document.lines["c.x"], document.lines["c.y"]) == (2, 6)


def test_an_alias_has_the_line_of_its_anchor(tmp_path: Path) -> None:
    document = _read(tmp_path, "a: &x\n  y: 1\nb: *x\n")
    assert document.data == {"a": {"y": 1}, "b": {"y": 1}}
    assert document.lines["b.y"] == 2


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text) == yamlio.Document({}, {})


def test_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    document = _read(tmp_path, "\ufeffa: 1\r\nb: x\r\n")
    assert (document.data, document.lines) == ({"a": 1, "b": "x"}, {"a": 1, "b": 2})


@pytest.mark.parametrize("text", ["- a\n- b\n", "abc\n", "5\n", "null\n"])
def test_what_is_no_mapping(tmp_path: Path, text: str) -> None:
    refused(ConfigError, lambda: _read(tmp_path, text), str(tmp_path / "a.yaml"), "mapping")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1\n", 2),
        ("a: 1\nb: [1, 2\n", 3),
        ("a: 1\n b: 2\n", 2),
        ("a: b: c\n", 1),
        ("a: 1\nb: *nope\n", 2),
        ("a: !!python/object:os.system {}\n", 1),
        ("a: 1\n---\nb: 1\n", 2),
        ("a: @x\n", 1),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    refused(ConfigError, lambda: _read(tmp_path, text), f"{tmp_path / 'a.yaml'}:{line}:", "not YAML")


@pytest.mark.parametrize("text", [b"a: \xff\n", b"a: \x01\n", b"a: !!int x\n", b"a: 0x_\n", b"a: !!timestamp x\n"])
def test_bytes_and_tags_that_cannot_be_read(tmp_path: Path, text: bytes) -> None:
    refused(ConfigError, lambda: _read(tmp_path, text), str(tmp_path / "a.yaml"))


def test_a_mapping_that_holds_itself(tmp_path: Path) -> None:
    refused(ConfigError, lambda: _read(tmp_path, "a: &a\n  b: *a\n"), str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a'", (1, 3)),
        ("a:\n  b: 1\n  b: 2\n", "'a.b'", (2, 3)),
        ("a:\n  - x: 1\n    x: 2\n", "x'", (2, 3)),
    ],
)
def test_a_key_given_twice(tmp_path: Path, text: str, key: str, lines: tuple[int, int]) -> None:
    refused(ConfigError, lambda: _read(tmp_path, text), f"a.yaml:{lines[1]}:", key, f"line {lines[0]}")


def test_one_key_in_two_entries_of_a_list_is_fine(tmp_path: Path) -> None:
    assert _read(tmp_path, "a:\n  - x: 1\n  - x: 2\n").data == {"a": [{"x": 1}, {"x": 2}]}


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    refused(ConfigError, lambda: yamlio.read(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    "value",
    [
        *(
            "yes",
            "null",
            "1e-4",
            "08",
            "04:00:00",
            "~",
            "",
            " a ",
            "a: b",
            "#x",
            "it's",
            '"',
            "a\nb",
            "\t",
            "\x85",
            "🎉",
            "=",
            "<<",
        ),
        *(1e-5, 1e22, 5, True, None, [], {}, [[1], {"a": None}], {0: "a", "b": {"c": []}}, float("inf")),
    ],
)
def test_what_is_written_is_read_back_by_plain_pyyaml(value: Any) -> None:
    assert yaml.safe_load(yamlio.dump({"k": value})) == {"k": value}


def test_writing_keeps_the_order_and_long_lines() -> None:
    text = yamlio.dump({"b": "x " * 500, "a": 1})
    assert text.count("\n") == 2
    assert text.startswith("b:")


def test_a_file_that_is_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        yamlio.read(path)
