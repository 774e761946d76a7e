"""A time limit as sbatch takes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault

FORMS = "minutes, hours:minutes:seconds, or days-hours:minutes:seconds"
_VALID = re.compile(r"\d+(:\d+){0,2}|\d+-\d*(:\d+){0,2}|-1|unlimited|infinite", re.IGNORECASE | re.ASCII)
_SHORT = re.compile(r"(\d+)(?::(\d+))?")
_WORDS = re.compile(
    r"(?:(\d+)\s*d(?:ays?)?)?\s*(?:(\d+)\s*h(?:ours?|rs?)?)?\s*(?:(\d+)\s*m(?:in(?:ute)?s?)?)?\s*(?:(\d+)\s*s(?:ec(?:ond)?s?)?)?",
    re.IGNORECASE,
)
_MARKS = re.compile(r"\d{1,3}[.,;h]\d{2}[.,;m]\d{2}s?", re.IGNORECASE)


def faults(key: str, value: str) -> Iterator[Fault]:
    """What is no time limit; and one that is shorter than it looks, as a note."""
    if not _VALID.fullmatch(value):
        yield Fault(key, value, f"no time limit; sbatch takes {FORMS}", _right(key, value))
        return
    short = _SHORT.fullmatch(value)
    if short and int(short[1]):
        how = "minutes" if short[2] is None else "minutes:seconds"
        length = f"{int(short[1])} minutes" + (f" {int(short[2])} seconds" if short[2] and int(short[2]) else "")
        fix = f'{key} = "{int(short[1]):02}:00:00" is as many hours'
        yield Fault(key, value, f"Slurm reads {how}: {length}", fix, "note")


def _right(key: str, value: str) -> str:
    """The same in the right form, where it can be told."""
    if _MARKS.fullmatch(value):
        return f'{key} = "{":".join(re.findall(r"[0-9]+", value))}"'
    words = _WORDS.fullmatch(value)
    if not words or not any(words.groups()):
        return f'{key} = "04:00:00" is four hours, "1-00:00:00" a day'
    days, hours, minutes, seconds = (int(part or 0) for part in words.groups())
    minutes, seconds = minutes + seconds // 60, seconds % 60
    hours, minutes = hours + minutes // 60, minutes % 60
    days, hours = (days + hours // 24, hours % 24) if days else (0, hours)
    return f'{key} = "{f"{days}-" if days else ""}{hours:02}:{minutes:02}:{seconds:02}"'
