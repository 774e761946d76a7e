"""Names of runs and ids of jobs. A run `NAME` has the directory `NAME/`; its jobs are `NAME.1`, `NAME.2`, ..."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from automodel_launch.errors import UsageError

LONGEST = 100
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{LONGEST - 1}}}")
HASH_DIGITS = 6
RESERVED = ("last", "all")


def run_name(
    recipe: str,
    config: str,
    trained: dict[str, Any],
    data: str | None = None,
    prefix: str | None = None,
    others: dict[str, str] | None = None,
) -> str:
    """RECIPE-CONFIG-h: h are the first digits of the hash of what is trained: the config without `run`, the recipe, and
    the identity of the data where that is known. `prefix` stands in RECIPE-CONFIG's place.

    `others`: the whole hash by name of the runs that are named together; this one is added. Of two that only begin
    alike, as some two of 5,000 do, the second takes twice the digits.
    """
    from automodel_launch.config import yamlio  # whoever looks at a job needs its name, and no YAML

    what = [recipe, yamlio.json_value(trained), *([data] if data else [])]
    canonical = json.dumps(what, sort_keys=True, ensure_ascii=False, default=str)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    words = prefix or f"{recipe}-{config}"
    name = with_digest(words, digest)
    if others is not None and others.setdefault(name, digest) != digest:
        return with_digest(words, digest, 2 * HASH_DIGITS)
    return name


def with_digest(words: str, digest: str, digits: int = HASH_DIGITS) -> str:
    """A name of readable words and the first digits of a hash."""
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", words)
    return f"{words[: LONGEST - digits - 1]}-{digest[:digits]}"


def readable(name: str) -> str:
    """The words of such a name, whatever `prefix` they came from; `run_name` takes them as its prefix."""
    return name.rpartition("-")[0]


def siblings(name: str, names: Iterable[str]) -> list[str]:
    """Runs among `names` whose default name differs from `name`, one, in its hash only."""
    head, _, digest = name.rpartition("-")
    of_one = re.compile(rf"{re.escape(head)}-[0-9a-f]{{{HASH_DIGITS}}}")
    return sorted(other for other in names if of_one.fullmatch(other) and other != name) if _is_hash(digest) else []


def _is_hash(text: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS}}}", text) is not None


def check(name: str) -> None:
    """Refuse a run's name that cannot be a directory, a Slurm job name and part of an id at once.

    Raises:
        UsageError: it has other characters than letters, digits, '-' and '_', or is longer than 100. The hint is a name
            that does.
    """
    if name in RESERVED:
        raise UsageError(f"--name {name}: `{name}` already stands for jobs wherever one is named.", f"--name {name}-1")
    if _NAME.fullmatch(name):
        return
    shown = repr(name) if len(name) <= LONGEST else f"{name[:LONGEST]!r}... has {len(name)} characters"
    dot = " ('.' stands before a job's number)" if "." in name else ""
    rule = f"a run's name begins with a letter and has at most {LONGEST} letters, digits, '-' and '_'{dot}"
    guess = _like(name)
    raise UsageError(f"--name {shown}: {rule}.", f"--name {guess}" if guess else None)


def _like(name: str) -> str:
    """A name that does, as near as can be; "" where nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")
    if plain and not plain[0].isalpha():
        plain = f"run-{plain}"
    plain = plain[:LONGEST].rstrip("-_")
    return f"{plain}-1" if plain in RESERVED else plain


def job_id(run: str, number: int) -> str:
    """The id of a run's job."""
    return f"{run}.{number}"


def run_of(job: str) -> str:
    """The run's name in a job's id."""
    return job.rpartition(".")[0]


def next_job_id(run: str, names: Iterable[str], records: Path | None = None) -> str:
    """The id after the highest one among `names` (of the job root) and the records (another profile's job root)."""
    taken = [*_numbers(run, names)]
    if records and records.is_dir():
        taken += _numbers(run, (path.stem for path in records.glob("*.json")))
    return job_id(run, max(taken, default=0) + 1)


def free_name(run: str, names: Iterable[str]) -> str:
    """`run` itself if there is no such run among the names in the job root yet, else `run-2`, `run-3`, ..."""
    present = {run_of(name) if "." in name else name for name in names}
    number, name = 1, run
    while name in present:
        number += 1
        name = f"{run[: LONGEST - 1 - len(str(number))]}-{number}"
    return name


def _numbers(run: str, names: Iterable[str]) -> list[int]:
    pattern = re.compile(re.escape(run) + r"\.(\d+)")
    return [int(match.group(1)) for name in names if (match := pattern.fullmatch(name))]
