"""What data a run trains on: an identity from sizes and a few bytes of each file, never from all of it.

The launcher and the job ask the same question here (automodel_launch/data_identity.py is a link to this file, like
contract.py), and a login node as well, to which this file is sent as a script: so it needs nothing but the standard
library of Python 3.6.

Times of files are no part of it: data that were touched, copied or restored from a backup are the same data. Nor are
directories: data that were moved are the same data under another name.
"""

import glob
import json
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

# The forms: .bin and .idx pairs by prefixes; .bin files by a pattern; files as they are, or all of a directory's.
# `megatron@900`: a run takes them from step 900 on, and does not depend on them before.
MEGATRON, NANOGPT, FILES = "megatron", "nanogpt", "files"
PART = 4096  # bytes that are read from the start and from the end of a file
SAMPLED = 64  # Megatron .bin files of which parts are read, spread evenly over all; of the others the size counts
SHOWN = 6  # differences that are told one by one
_THREADS = 16
_LARGEST = 64 << 20  # bytes of the largest blend.json that is read

Row = List[Any]  # [file or prefix, use, bytes, bytes of the .idx, digest of the parts], of a form with @ the step, too
_PATH, _USE, _BYTES, _IDX, _PARTS, _FIRST = range(6)


class _Unknown(Exception):
    """Why the identity cannot be told; `elsewhere`: the files may well be where the job runs."""

    def __init__(self, why: str, elsewhere: bool = False) -> None:
        super().__init__(why)
        self.elsewhere = elsewhere


def look(named: List[List[Any]], mounts: List[List[str]]) -> Dict[str, Any]:
    """{"digest", "rows"} of the data that `named` ([form, value as a config has it], ...) stands for.

    `mounts`: [path in the job, path here], none where these are the same. {"digest": None, "why", "elsewhere"}
    where it is not known: a file is missing or cannot be read, or (`elsewhere`) is not on this machine.
    """
    import hashlib  # every agent imports this module, and one of them looks
    from concurrent.futures import ThreadPoolExecutor

    try:
        wanted = [(form, use, path) for form, value in named for use, path in _expanded(_bare(form), value, mounts)]
        with ThreadPoolExecutor(_THREADS) as pool:
            every = -(-len(wanted) // SAMPLED) or 1
            sampled = [number % every == 0 for number in range(len(wanted))]
            rows = list(pool.map(lambda one, parts: _row(one[0], one[1], one[2], parts, mounts), wanted, sampled))
    except _Unknown as reason:
        return {"digest": None, "why": str(reason), "elsewhere": reason.elsewhere}
    if not rows:
        return {"digest": None, "why": "the config names no files", "elsewhere": False}
    return {
        "digest": hashlib.sha256(json.dumps(_kept(rows)).encode("utf-8", "surrogateescape")).hexdigest(),
        "rows": rows,
    }


def compare(begun: Dict[str, Any], now: Dict[str, Any], done: Optional[int] = None) -> List[str]:
    """How data differ from those that a run began with, for a reader; none where they are the same or not known.

    `done`: the steps that the run keeps, as its checkpoint has them. Data that it takes later may be others; where none
    are kept, only those that it begins with count. None: all count.
    """
    if not begun.get("digest") or not now.get("digest") or begun["digest"] == now["digest"]:
        return []
    was, present = taken(begun["rows"], done), taken(now["rows"], done)
    if done is not None and _kept(was) == _kept(present):
        return []
    old, new = _by_name(was), _by_name(present)
    lines = [_changed(old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])]
    told = [line for line in dict.fromkeys(lines) if line] or ["the files are the same, in another order"]
    if len(told) > SHOWN:
        told = [*told[:SHOWN], "and {} more".format(len(told) - SHOWN)]
    return [*told, "in all {}, now {}".format(_total(was), _total(present))]


def changes_later(begun: Dict[str, Any], now: Dict[str, Any], done: Optional[int]) -> bool:
    """Whether the data differ, and only in those that the run has not come to."""
    known = begun.get("digest") and now.get("digest")
    return bool(known and begun["digest"] != now["digest"] and not compare(begun, now, done))


def from_step(form: str, step: int) -> str:
    """The form of data that a run takes from a step on."""
    return "{}@{}".format(form, step)


def taken(rows: List[Row], done: Optional[int]) -> List[Row]:
    """Those on which the first `done` steps depend; None: all."""
    return [row for row in rows if done is None or len(row) <= _FIRST or row[_FIRST] < max(done, 1)]


def depends_on_steps(named: List[List[Any]]) -> bool:
    """Whether it matters how far a run has come."""
    return any("@" in form for form, _ in named)


def size(rows: List[Row]) -> int:
    """Bytes of all files."""
    return sum(row[_BYTES] + (row[_IDX] or 0) for row in {row[_PATH]: row for row in rows}.values())


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """On a login node: what `named` stands for, and how it differs from the record in `begun`."""
    now = look(request["named"], request["mounts"])
    try:
        with open(request["begun"], encoding="utf-8") as file:
            begun = json.load(file)
    except (OSError, ValueError, RecursionError):
        begun = {}
    done = request.get("done")
    told = {"differences": compare(begun, now, done), "later": changes_later(begun, now, done)}
    return {"why": now.get("why"), "begun": begun.get("digest"), **told}


def place(path: str, mounts: List[List[str]]) -> Optional[str]:
    """Where a path of the job is on this machine; None: on no mount, or its variable is not set here."""
    if "\0" in path:
        return None
    if not mounts:
        return path
    for target, source in sorted(mounts, key=lambda mount: -len(mount[0])):
        bare = target.rstrip("/")
        if path == target or path.startswith(bare + "/"):
            here = os.path.expanduser(os.path.expandvars(source)) + path[len(bare) :]
            return None if here.startswith(("$", "~")) else here
    return None


def _expanded(form: str, value: Any, mounts: List[List[str]]) -> Iterator[Tuple[str, str]]:
    """(use, path) of every file or prefix, in the order in which training takes them; paths as the job has them."""
    if form == FILES:
        for path in value if isinstance(value, list) else [value]:
            yield from (("", each) for each in _files(str(path), mounts))
    elif form == NANOGPT:
        for pattern in value if isinstance(value, list) else [value]:
            yield from (("", path) for path in _matches(str(pattern), mounts))
    elif isinstance(value, str) and value.lower().endswith(".json"):
        yield from _entries(_read_json(value, mounts), "")
    elif isinstance(value, str) and any(mark in value for mark in "*?["):
        yield from (("", prefix) for prefix in dict.fromkeys(map(_prefix, _matches(value, mounts))))
    else:
        yield from _entries(value, "")


def _entries(value: Any, split: str) -> Iterator[Tuple[str, str]]:
    """Of a blend: a list of prefixes, with or without weights before them, or such lists by split."""
    if isinstance(value, dict):
        for name, entries in value.items():
            yield from _entries(entries, str(name))
        return
    weight = ""
    for entry in value if isinstance(value, list) else [value]:
        if _is_number(entry):
            weight = str(entry)
        else:
            yield " ".join(word for word in (split, weight) if word), _prefix(str(entry))
            weight = ""


def _is_number(entry: Any) -> bool:
    try:
        float(entry)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _prefix(path: str) -> str:
    path = path.strip()
    return path[:-4] if path.endswith((".bin", ".idx")) else path


def _here(path: str, mounts: List[List[str]]) -> str:
    if not path.startswith("/"):
        raise _Unknown("{} is no absolute path".format(path))
    found = place(path, mounts)
    if found is None:
        raise _Unknown("{} is not on this machine".format(path), elsewhere=True)
    return found


def _matches(pattern: str, mounts: List[List[str]]) -> List[str]:
    here = _here(pattern, mounts)
    tail = os.path.commonprefix([pattern[::-1], here[::-1]])[::-1]
    head = pattern[: len(pattern) - len(tail)]
    return [head + path[len(here) - len(tail) :] for path in sorted(glob.glob(here))]


def _files(path: str, mounts: List[List[str]]) -> List[str]:
    """A file, or all files below a directory."""
    here = _here(path, mounts)
    if not os.path.isdir(here):
        return [path]
    found = (os.path.join(folder, name) for folder, _, names in os.walk(here) for name in names)
    return sorted(path + each[len(here) :] for each in found if not os.path.basename(each).startswith("."))


def _read_json(path: str, mounts: List[List[str]]) -> Any:
    try:
        with open(_here(path, mounts), encoding="utf-8") as file:
            return json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise _Unknown("{}: {}".format(path, getattr(error, "strerror", None) or "not JSON")) from None


def _bare(form: str) -> str:
    return form.partition("@")[0]


def _kept(rows: List[Row]) -> List[List[Any]]:
    """What of them is the identity."""
    return [[row[_USE], os.path.basename(row[_PATH]), *row[_BYTES:]] for row in rows]


def _row(form: str, use: str, path: str, parts: bool, mounts: List[List[str]]) -> Row:
    form, _, first = form.partition("@")
    step = [int(first)] if first else []
    here = _here(path, mounts)
    import hashlib

    digest = hashlib.sha256()
    try:
        if form in (NANOGPT, FILES):
            return [path, use, _parts(here, digest), None, digest.hexdigest()[:16], *step]
        index = _parts(here + ".idx", digest)
        tokens = _parts(here + ".bin", digest) if parts else os.stat(here + ".bin").st_size
    except OSError as error:
        raise _Unknown("{}: {}".format(error.filename or path, error.strerror)) from None
    return [path, use, tokens, index, digest.hexdigest()[:16], *step]


def _parts(path: str, digest: Any) -> int:
    """The size of a file, whose start and end go into the digest."""
    file = os.open(path, os.O_RDONLY)
    try:
        total = os.fstat(file).st_size
        digest.update(os.pread(file, PART, 0))
        digest.update(os.pread(file, PART, max(PART, total - PART)))
    finally:
        os.close(file)
    return total


def _by_name(rows: List[Row]) -> Dict[str, Row]:
    """Rows by what they have in common with the same shard of other data: split, and name in its folder."""
    found = {}  # type: Dict[str, Row]
    for row in rows:
        name = "{} {}".format(row[_USE].partition(" ")[0], "/".join(row[_PATH].split("/")[-2:]))
        while name in found:
            name += "+"
        found[name] = row
    return found


def _changed(old: Optional[Row], new: Optional[Row]) -> str:
    """How a shard differs; empty where it does not."""
    if old is None or new is None:
        row, word = (old, "is gone") if new is None else (new, "is new")
        return "{} ({}) {}".format(row[_PATH], _bytes(row), word) if row else ""
    if old[_BYTES:] == new[_BYTES:] and old[_USE] == new[_USE]:
        return ""
    now = "" if old[_PATH] == new[_PATH] else "{}: ".format(new[_PATH])
    if old[_BYTES:_FIRST] == new[_BYTES:_FIRST] and old[_FIRST:] != new[_FIRST:]:
        return "{}: {}, now {}".format(old[_PATH], _since(old), _since(new))
    if old[_BYTES:] == new[_BYTES:]:
        return "{}: {!r} in the blend, now {}{!r}".format(old[_PATH], old[_USE], now, new[_USE])
    other = "" if _bytes(old) != _bytes(new) else " of other content"
    return "{}: {}, now {}{}{}".format(old[_PATH], _bytes(old), now, _bytes(new), other)


def _since(row: Row) -> str:
    return "from step {:,}".format(row[_FIRST]) if len(row) > _FIRST else "in all steps"


def _bytes(row: Row) -> str:
    index = "" if row[_IDX] is None else " + {:,}".format(row[_IDX])
    return "{:,}{} bytes".format(row[_BYTES], index)


def _total(rows: List[Row]) -> str:
    files = len({row[_PATH] for row in rows})
    return "{:,} {} of {:,} bytes".format(files, "file" if files == 1 else "files", size(rows))
