"""What the commands share about the terminal."""

from __future__ import annotations

import io
import textwrap

import pytest

from automodel_launch.commands import console


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "theme", "expected"),
    [
        ({}, "dark", True),
        ({"NO_COLOR": "1"}, "dark", False),
        ({"NO_COLOR": ""}, "dark", True),
        ({"TERM": "dumb"}, "dark", False),
        ({}, "plain", False),
    ],
)
def test_colours(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], theme: str, expected: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert console.colours(theme, Terminal()) is expected
    assert console.colours(theme, io.StringIO()) is False


def test_painted() -> None:
    assert console.painted("x", "error", True) == "\033[1;31mx\033[0m"
    assert console.painted("x", "error", False) == console.painted("x", "no style", True) == "x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï 🎉\n\ttext", "plain, ünï 🎉\n\ttext"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x08", "a\\rb\\x08"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \udcff", "half \\udcff"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    assert console.harmless(text) == shown


def test_our_own_colours_pass() -> None:
    assert console.harmless("\x1b[32mok\x1b[0m \x1b[2J", colour=True) == "\x1b[32mok\x1b[0m \\x1b[2J"


def test_exact_is_exact(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    console.exact("a\r\x1b[31mb\udcff")
    console.exact("c\n")
    assert capfdbinary.readouterr().out == b"a\r\x1b[31mb\xff\nc\n"


@pytest.mark.parametrize("width", [40, 80])
def test_wrapped_lines_fit(width: int) -> None:
    text = f"words and a path /{'x' * 100} and\na second line, `a-b-c` stays"
    lines = console.wrapped(text, "    ", width, first="  label ")
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("  label words")
    assert all(line.startswith("    ") for line in lines[1:])
    assert "".join(lines).replace(" ", "") == f"label{text}".replace(" ", "").replace("\n", "")
    assert console.wrapped("", "  ") == [""]


@pytest.mark.parametrize(
    "text", ["a", " a", "a ", "a  b", "x" * 28, "x" * 29, "x" * 28 + " ", "a" * 20 + " b  c d e", " "]
)
def test_what_fits_into_a_line_is_as_it_would_be_wrapped(text: str) -> None:
    wrap = textwrap.TextWrapper(30, "> ", "  ", break_on_hyphens=False, replace_whitespace=False)
    assert console.wrapped(text, "  ", 30, first="> ") == (wrap.wrap(text) or [">"])


def test_cut() -> None:
    assert console.cut("a\n b", 10) == "a b"
    assert console.cut("abcdefgh", 6) == "abc..."


def test_the_width_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert console.width() == 100
    monkeypatch.setenv("COLUMNS", "5")
    assert console.width() == console.NARROWEST


def test_a_table() -> None:
    assert console.table([("a", "bb", ""), ("ccc", "d", "e")]) == ["a    bb", "ccc  d   e"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (450_978, "451 kB"), (2.5e9, "2.5 GB"), (7e15, "7,000 TB")],
)
def test_sizes(number: float, text: str) -> None:
    assert console.size(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(4096, "4,096"), (999_999, "999,999"), (4_212_992, "4.21 million"), (3.05e10, "30.5 billion")]
)
def test_counts(number: float, text: str) -> None:
    assert console.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (40, "40 s"), (720, "12 min"), (12_600, "3.5 h"), (90_000, "25 h"), (2e5, "2.3 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_plurals_and_lists() -> None:
    assert console.many(1, "process", "processes") == "1 process"
    assert console.many(2000, "process", "processes") == "2,000 processes"
    assert console.listed("abc", 2) == "a, b and 1 more"
    assert console.listed("ab", 2) == "a, b"
