"""Overrides: their forms, their values as YAML, and what is no override."""

from __future__ import annotations

from typing import Any

import pytest

from automodel_launch.config.overrides import MARK, parse, split
from automodel_launch.errors import ConfigError, LaunchError, UsageError
from tests.workbench import refused

VALUED, FLAGS = {"-c", "--config", "--run", "--batch", "--name"}, {"--dry-run", "--json", "-h"}


def _split(*argv: str) -> list[str]:
    return [word.replace(MARK, "!") for word in split(list(argv), VALUED, FLAGS)]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1e-4", 1e-4),
        ("-1.5E+3", -1500.0),
        ("1_000", 1000),
        ("0x10", 16),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, a, null]", [1, "a", None]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("'5'", "5"),
        ('"a\\nb"', "a\nb"),
        ("04:00:00", "04:00:00"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("08", "08"),
        ("a=b=c", "a=b=c"),
        ("a b", "a b"),
        ("it's", "it's"),
        ("$HOME/`id`", "$HOME/`id`"),
        ("Привет 🎉", "Привет 🎉"),
        ("${oc.env:X,5}", "${oc.env:X,5}"),
        ("s3://bucket/x", "s3://bucket/x"),
    ],
)
def test_values_are_yaml(written: str, value: Any) -> None:
    for text in (f"a.b={written}", f"--a.b={written}", f"+a.b={written}"):
        override = parse(text)
        assert (override.key, override.value, type(override.value)) == ("a.b", value, type(value))


def test_the_actions() -> None:
    assert (parse("a=1").action, parse("+a=1").action, parse("~a.b").action) == ("set", "add", "remove")
    assert parse("--a=1").dashed
    assert not parse("a=1").dashed
    assert parse(f"{MARK}--a.b=1").text == "--a.b=1"


@pytest.mark.parametrize("text", ["abc", "=5", "a b=5", "a..b=1", ".a=1", "a.=1", "a/b=1", "-5", "", "~", "~=1", "+=1"])
def test_what_is_no_override(text: str) -> None:
    refused(UsageError, lambda: parse(text), repr(text)[1:-1])


@pytest.mark.parametrize(
    "value", ["[1", "{a: ", "a: b: c", "@x", "*x", '"x', "!!int x", "0x_", "\x01", "\udcff", "!!python/name:os.system"]
)
def test_a_value_that_is_no_yaml(value: str) -> None:
    refused(ConfigError, lambda: parse(f"a={value}"), "override a=", "not YAML", "quote")


@pytest.mark.parametrize(
    "written",
    [
        *("fix #12", "#12", "#", "module load x #y", "1e-3 #x", "5 # five", "a: b #c", "- a #b", "it's #1", "é 🎉 #x"),
        *('say "x #y"', "'a' #b", '"a #b" #c', "''  #", "!!str x #y", "${NOPE,/a #d}", "a\n#b\nc"),
    ],
)
def test_no_part_of_a_value_is_a_comment(written: str) -> None:
    for text in (f"a={written}", f"+a={written}", f"--a={written}", f"run.env.comment= {written} "):
        assert parse(text).value == written


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'fix #12'", "fix #12"),
        ('"a #b"', "a #b"),
        ("'it''s #3'", "it's #3"),
        ("http://x/#a", "http://x/#a"),
        ("5#", "5#"),
        ("[a, 'b #c', \"#\", d#e]", ["a", "b #c", "#", "d#e"]),
        ("{a: '#fff'}", {"a": "#fff"}),
        ("|\n x #y", "x #y"),
    ],
)
def test_a_hash_that_begins_no_comment_is_read_as_before(written: str, value: Any) -> None:
    assert parse(f"a={written}").value == value


@pytest.mark.parametrize("value", ["[a, b] # two", "[a #b]", "[#a]", "{a: b #c}", " [1 #"])
def test_a_list_or_mapping_with_a_comment_is_refused(value: str) -> None:
    refused(ConfigError, lambda: parse(f"a={value}"), "override a=", "' #'", "quote the entry")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--a.b", "5"), ["!--a.b=5"]),
        (("--a.b=5",), ["!--a.b=5"]),
        (("--a.b", "-5"), ["!--a.b=-5"]),
        (("--a.b", "-1e-4"), ["!--a.b=-1e-4"]),
        (("--a.b", "x=y"), ["!--a.b=x=y"]),
        (("--a.b", ""), ["!--a.b="]),
        (("--a.b", "--c.d", "1"), ["!--a.b", "!--c.d=1"]),
        (("--a.b",), ["!--a.b"]),
        (("--seed", "5"), ["!--seed=5"]),
        (("--dryrun",), ["!--dryrun"]),
        (("--dryrun", "a=1"), ["!--dryrun", "a=1"]),
        (("--dry-run", "a=1"), ["--dry-run", "a=1"]),
        (("-c", "tiny", "a=1"), ["-c", "tiny", "a=1"]),
        (("-c", "--a.b", "x"), ["-c", "--a.b", "x"]),
        (("--config=tiny", "~a", "+b=1"), ["--config=tiny", "~a", "+b=1"]),
        (("--run.env.nodes", "2"), ["!--run.env.nodes=2"]),
        (("a=1", "--", "--a.b", "5"), ["a=1", "--", "--a.b", "5"]),
        (("--run",), ["--run"]),
        ((), []),
    ],
)
def test_automodels_form_is_marked_in_its_place(argv: tuple[str, ...], expected: list[str]) -> None:
    assert _split(*argv) == expected


def test_the_command_line_is_left_alone() -> None:
    argv = ["--a.b", "5"]
    split(argv, VALUED, FLAGS)
    assert argv == ["--a.b", "5"]


def test_a_file_of_odd_words_never_crashes() -> None:
    words = [
        "-",
        "--",
        "---",
        "--=",
        "--=5",
        "--.",
        "+",
        "++a=1",
        "~~a",
        "+~a",
        "--a.b=[",
        "\n=1",
        "a\n=1",
        "ä=1",
        "--ä=1",
        "a=\t",
    ]
    for word in words:
        try:
            parse(word)
        except LaunchError as error:
            assert error.exit_code == 2


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("optimizer.lr = 1", "optimizer.lr=VALUE, without blanks"),
        ("++optimizer.lr=1", "optimizer.lr=VALUE"),
        ("optimizer.betas[0]=0.8", "optimizer.betas.0=VALUE"),
        ("a..b=1", "optimizer.lr"),
    ],
)
def test_what_is_no_key_is_told_with_the_key_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert meant in str(refused.value.hint)
