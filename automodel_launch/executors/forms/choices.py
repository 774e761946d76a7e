"""Values of sbatch's --begin, --hint and --distribution, as sbatch reads them: in any case, the first with blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault
from automodel_launch.suggest import completed

_MOMENTS = ("now", "today", "tomorrow", "midnight", "noon", "fika", "teatime")
_DATE = r"\d{4}-(0?[1-9]|1[0-2])-\d{1,2}|\d{6}|\d{1,2}[./]\d{1,2}([./]\d{2,4})?"
_CLOCK = r"([01]?\d|2[0-4]):[0-5]\d(:[0-5]\d)?"
_MOMENT = re.compile(rf"({_DATE})(t({_CLOCK}))?|{_CLOCK}\s*([ap]m)?|{'|'.join(_MOMENTS)}")
_UNIT = re.compile(r"now\s*\+\s*\d+\s*([a-z]*)")
_HINTS = ("compute_bound", "memory_bound", "multithread", "nomultithread", "help")
_WAYS = ("block", "cyclic", "fcyclic", "plane", "arbitrary")


def begin(key: str, value: str) -> Iterator[Fault]:
    """A date, a time, both, a word for one, or now+COUNT and a unit."""
    text = value.strip().lower()
    unit = _UNIT.fullmatch(text)
    if unit:
        fits = not unit[1] or unit[1].startswith(tuple("smhdw"))
    else:
        words = re.sub(r"\s+(?=[ap]m\b)", "", text).split()
        fits = bool(words) and all(_MOMENT.fullmatch(word) for word in words)
    if not fits:
        why = "sbatch reads no such time"
        yield Fault(key, value, why, f'{key} = "2030-01-31T22:00", "22:00", "now+2hours" or "tomorrow"')


def hint(key: str, value: str) -> Iterator[Fault]:
    """Words with commas."""
    wrong = [word for word in value.lower().split(",") if word not in _HINTS]
    if wrong:
        near = completed(wrong[0], _HINTS)
        right = f'{key} = "{near}"; ' if near else ""
        yield Fault(key, value, f"{wrong[0]!r} is not one of its values", f"{right}values: {', '.join(_HINTS[:4])}")


def distribution(key: str, value: str) -> Iterator[Fault]:
    """`block:cyclic:fcyclic,Pack`: of nodes, sockets and cores; `plane=SIZE` in the first place."""
    levels, *more = value.lower().split(",")
    fix = f'{key} = "block", "cyclic", "block:cyclic" or "plane=8"'
    first, *others = levels.split(":")
    if first.partition("=")[0] == "plane" and not re.fullmatch(r"plane=[1-9]\d*", first):
        yield Fault(key, value, "plane needs a size, a whole number", fix)
        return
    known = {"*", "pack", "nopack", *_WAYS}
    wrong = [word for word in (first.partition("=")[0], *others, *more) if word not in known]
    if wrong:
        yield Fault(key, value, f"{wrong[0]!r} is not one of its words", fix)
