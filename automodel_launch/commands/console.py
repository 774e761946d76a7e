"""What every command repeats about the terminal: talk, data, tables, numbers for people, colours, line breaks."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from automodel_launch import streams, workspace
from automodel_launch.errors import OutputError
from automodel_launch.harmless import harmless as harmless

STYLES = {"error": "1;31", "warning": "33", "note": "36", "heading": "1", "dim": "2", "mark": "1;32"}
STYLES |= {"ok": "32", "warn": "33", "FAIL": "1;31", "not checked": "2"}
NARROWEST = 40
LONGEST = 4000  # characters of a line of talk
INSTALLED = "automodel-launch"  # the command where there is no launch.py
_COMMAND = re.compile(r"\b(python )?launch\.py(?= [A-Za-z-])")


def prepare() -> None:
    """Have both streams write what their encoding lacks (a log collector's may be ASCII) as an escape, not raise.

    One that was closed (`>&-`) takes everything and shows nothing.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the process's life)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def hang_up() -> None:
    """The terminal is gone: what waits to be written to it, and what will be, is dropped."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            streams.to_nowhere(stream)


def say(text: str) -> None:
    """Talk: a line on stderr. One that cannot be written (a full disk) hides neither data nor exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{harmless(told(text))}\n")
        sys.stderr.flush()


def told(text: str) -> str:
    """Words for a person: with the command that is there, and without the middle of a line that nobody reads whole."""
    if _COMMAND.search(text) and not workspace.is_checkout():  # which asks the file system, and most lines name none
        text = _COMMAND.sub(INSTALLED, text)
    return "\n".join(map(_shortened, text.split("\n"))) if len(text) > LONGEST else text


def _shortened(line: str) -> str:
    if len(line) <= LONGEST:
        return line
    kept = LONGEST // 2
    return f"{line[:kept]} ... ({len(line) - 2 * kept:,} characters more) ... {line[-kept:]}"


def write(text: str) -> None:
    """Text for stdout.

    Raises:
        OutputError: it takes nothing more; what is written from now on is dropped.
    """
    with _told():
        sys.stdout.write(text)


def flush() -> None:
    """Have everything written that waits to be; else it is lost in silence at the interpreter's end.

    Raises:
        OutputError: it cannot be.
    """
    with _told():
        sys.stdout.flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno == errno.EIO:  # a reader, or a terminal, that is gone
            raise
        message = streams.said(sys.stdout, error)
        streams.to_nowhere(sys.stdout)
        raise OutputError(
            f"{message}.", "write it elsewhere; what was done, a job that was submitted, stands"
        ) from error


def out(text: str, colour: bool = False) -> None:
    """Data for people: a line on stdout; with `colour` our own escapes in it stay."""
    write(f"{harmless(text, colour)}\n")


def document(value: Any, indent: int | None = 1) -> None:
    """Data for programs: one JSON document on stdout."""
    write(json.dumps(value, indent=indent) + "\n")


def long_document(head: dict[str, Any], name: str, rows: Iterable[Any]) -> int:
    """One JSON document, `{**head, name: list(rows)}`, without all rows in memory; the number of rows.

    Nothing is written where the first row cannot be had. What raises later leaves a document without its end.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, 1))
    if not first:
        document({**head, name: []})
        return 0
    write(json.dumps({**head, name: []}, indent=1).removesuffix("]\n}"))
    between, count = "\n  ", 0
    for row in itertools.chain(first, rows):  # a line each: with an indent, Python's encoder takes three times as long
        write(between + json.dumps(row))
        between, count = ",\n  ", count + 1
    write("\n ]\n}\n")
    return count


def result(value: Any) -> None:
    """The document of a job that was followed to its end: one that cannot be written does not hide its exit code."""
    try:
        document(value, indent=None)
        flush()
    except OutputError as error:
        say(error.message)


def exact(text: str) -> None:
    """Text for stdout as it is, to the byte; a line break follows only where it has none at its end."""
    if not text.endswith("\n"):
        text += "\n"
    flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        write(text)
        return
    with _told():
        binary.write(text.encode("utf-8", "surrogateescape"))
        binary.flush()


# --- colours and width


def colours(theme: str = "dark", stream: IO[str] | None = None) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR is set or `[cli] theme` is "plain"."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or theme == "plain":
        return False
    return stream.isatty()


def painted(text: str, style: str, colour: bool) -> str:
    """The text in a style of STYLES; as it is without colour."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if colour and style in STYLES else text


def width() -> int:
    """Columns to write: the terminal's (or $COLUMNS), 80 where there is none."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def height() -> int:
    """Lines of the terminal (or $LINES), 24 where there is none."""
    return shutil.get_terminal_size((80, 24)).lines


def wrapped(text: str, indent: str = "", columns: int | None = None, first: str | None = None) -> list[str]:
    """Lines of at most `columns`; `first` stands before the first one, `indent` before the others."""
    head = indent if first is None else first
    columns = columns or width()
    lines: list[str] = []
    for part in harmless(told(text)).expandtabs(4).split("\n"):
        start = indent if lines else head
        if part and part == part.strip() and len(start) + len(part) <= columns:
            lines.append(start + part)
            continue
        wrap = textwrap.TextWrapper(
            columns, start, indent, drop_whitespace=True, break_on_hyphens=False, replace_whitespace=False
        )
        lines += wrap.wrap(part) or [start.rstrip()]
    return lines


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether standard output is one, or the stream that is given."""
    return (stream or sys.stdout).isatty()


def cut(text: str, columns: int) -> str:
    """One line of at most `columns`, with `...` where something is left out."""
    text = " ".join(harmless(told(text)).split())
    return text if len(text) <= columns else text[: max(0, columns - 3)] + "..."


def cut_end(text: str, columns: int) -> str:
    """The same of a row of a table: the blanks that align its columns stay."""
    text = harmless(text).replace("\n", " ")
    return text if len(text) <= columns else text[: max(0, columns - 3)].rstrip() + "..."


def cut_line(text: str, columns: int) -> str:
    """The same on a terminal alone, since a file has no edge."""
    return cut_end(told(text), columns) if is_terminal() else harmless(told(text))


def hanging(head: str, text: str, stream: IO[str] | None = None, indent: str | None = None) -> list[str]:
    """`head` and `text` in a line; on a terminal that is too narrow the text goes on below itself, or at `indent`.

    `stream` is where it will be written: standard output, unless it is given.
    """
    if not is_terminal(stream):
        return [(head + harmless(told(text))).rstrip()]
    return wrapped(text, " " * len(head) if indent is None else indent, first=head)


# --- tables and numbers


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with aligned columns, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def size(count: float) -> str:
    """Bytes for reading: 210 kB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    unit = next((u for u in (3, 2, 1) if count >= 1000 ** (u + 1)), 0)
    scaled = count / 1000 ** (unit + 1)
    return f"{scaled:.3g} {('kB', 'MB', 'GB', 'TB')[unit]}" if scaled < 1000 else f"{scaled:,.0f} TB"


def count(number: float) -> str:
    """A number for reading: 4,096 or 4.2 million."""
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= max(1e6, unit * 0.9995):  # else three digits of it would be 1e+03
            return f"{number / unit:.3g} {name}"
    return f"{number:,.0f}"


def many(number: int, word: str, plural: str | None = None) -> str:
    """`1 node`, `2 nodes`, `2 processes`."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def clock(when: float) -> str:
    """Unix seconds as the date and time of this place."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, name, most in ((1, "s", 90), (60, "min", 90 * 60), (3600, "h", 48 * 3600)):
        if seconds < most:
            number = seconds / unit
            return f"{number:.0f} {name}" if name != "h" or number >= 10 else f"{number:.2g} {name}"
    return f"{seconds / 86400:.2g} days"


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names with commas; of a long list the first, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
