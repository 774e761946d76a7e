"""`dependency` as slurmctld reads it (its words are the same for all faults: "Job dependency problem")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault
from automodel_launch.suggest import alike, nearest

TYPES = ("after", "afterany", "afterok", "afternotok", "aftercorr", "afterburstbuffer", "expand")
_ID = r"\d+(_(\d+|\*))?(\+\d+[a-z]*)?"
_VALID = re.compile(rf"singleton|({'|'.join(TYPES)}):{_ID}(:{_ID})*|\d+(_\d+)?(:\d+)*", re.IGNORECASE)
_FORM = "TYPE:ID[:ID...], several joined by `,` (all of them) or `?` (any)"


def faults(key: str, value: str) -> Iterator[Fault]:
    """What is no dependency."""
    wrong = [part for part in re.split(r"[,?]", value) if not _VALID.fullmatch(part)]
    if not wrong:
        return
    part = wrong[0].strip()
    why = f"{wrong[0]!r} is no dependency; sbatch takes {_FORM}" if part else f"an empty one; sbatch takes {_FORM}"
    yield Fault(key, value, why, _right(part))


def _right(part: str) -> str:
    kind, mark, rest = re.fullmatch(r"([A-Za-z_-]*)([:=\s]*)(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
    numbers = re.findall(r"\d+", rest)
    near = nearest(kind, (*TYPES, "singleton")) if kind else None
    near = near if near and alike(kind, near) else None
    if near == "singleton" and not rest:
        return '"singleton"'
    if near and numbers and re.fullmatch(r"[\d:;\s]+", rest):
        return f'"{near}:{":".join(numbers)}"'
    if rest and kind.lower() in TYPES and mark:
        return f'"{kind}:12345": Slurm\'s number of a job: slurm_id in `python launch.py status JOB --json`'
    return f'"afterok:12345", "afterany:12345:12346" or "singleton"; types: {", ".join(TYPES)}'
