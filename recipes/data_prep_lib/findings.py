"""What a `look` finds, in the form that the launcher reads: {level, code, message, fix}."""

from __future__ import annotations

from typing import Any

from data_prep_lib.errors import DataPrepError, NoHomeError

Finding = dict[str, Any]


def finding(level: str, code: str, message: str, fix: str = "") -> Finding:
    """`level`: error, warning or note. A file's name that is no UTF-8 is told as stderr tells it, \\udcff."""
    shown = [text.encode("utf-8", "backslashreplace").decode("utf-8") for text in (message, fix)]
    return {"level": level, "code": code, "message": shown[0], "fix": shown[1] or None}


def of_error(code: str, e: DataPrepError, level: str = "error") -> Finding:
    """An error's first line is its message, the next ones are what to do."""
    message, _, fix = str(e).partition("\n")
    return finding(level, code, message, fix.strip())


def of_config(recipe: str, e: DataPrepError, files: bool) -> Finding:
    """Of a recipe's configuration. `files`: paths mean here what they do in the job."""
    if isinstance(e, NoHomeError) and not files:
        return of_error(f"{recipe}-not-looked-at", e, "note")
    return of_error(f"{recipe}-config", e)
