"""Small JSON files that are complete or absent, also when the disk is full or two nodes write at once.

No value of a secret stands in them (redaction.py), whoever writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, Callable, Dict, Iterator

from . import redaction

Json = Dict[str, Any]

FULL = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {*FULL, errno.ESTALE, errno.EIO, errno.ENFILE}
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_TURN_S = 2.0  # another writer's line takes milliseconds
_RETRY_EVERY_S = 0.5
_LARGEST = 1e300  # an integer of JSON may have any number of digits, which no float holds
_release: list[Callable[[], bool]] = []


def when_full(release: Callable[[], bool]) -> None:
    """From now on, this process calls `release` before it waits for a full disk; True: some space was freed."""
    _release[:] = [release]


def read_json(path: str) -> Json | None:
    """The object in `path`, or None where there is none that is complete."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str, value: Json, patience_s: float = 0.0, durably: bool = True) -> None:
    """Replace `path` in one step. A full disk is waited out for `patience_s`, then OSError; never a partial file.

    Not `durably`: what the machine's end may take with it, a heartbeat.
    """
    _patiently(lambda: _put(path, _dumps(value), os.replace, durably), patience_s)


def overwrite_json(path: str, value: Json) -> bool:
    """Write into the blocks that the file has, where a full disk has no others; whether they were enough.

    Not in one step, so for what is the last word: a reader may see half of it for a moment.
    """
    data = _dumps(value).encode("utf-8", "replace")
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        told = os.fstat(fd)
        if len(data) > told.st_blocks * 512:
            return False
        whole = data.ljust(told.st_size)  # blanks behind it are no part of the object
        return os.pwrite(fd, whole, 0) == len(whole)
    except OSError:
        return False
    finally:
        os.close(fd)


def create_json(path: str, value: Json, patience_s: float = 0.0) -> bool:
    """Make `path` unless it exists: True for the one writer that made it, False for every other one."""
    try:
        _patiently(lambda: _put(path, _dumps(value), _link), patience_s)
    except FileExistsError:
        return False
    return True


def write_text(path: str, text: str, patience_s: float = 0.0) -> None:
    """As write_json, for any string."""
    _patiently(lambda: _put(path, text, os.replace), patience_s)


def append_json(path: str, values: list[Json], patience_s: float = 0.0) -> None:
    """Append one line a value. A full disk is waited out for `patience_s`; on OSError the file is as it was before.

    Writers take turns, so that none takes another's line away with its own half. What one that was killed has left of
    a line stays a line of its own; a full disk's, too, on a file system without locks.
    """
    _patiently(lambda: _append(path, values), patience_s)


def _append(path: str, values: list[Json]) -> None:
    data = "".join(_dumps(value) for value in values).encode("utf-8", "replace")
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)  # less the umask: some are a group's
    try:
        alone = _take_turn(fd)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = _write_some(fd, data)
        if written < len(data):
            if alone and written:
                os.ftruncate(fd, size)
            raise OSError(errno.ENOSPC, "no space left for a complete line", path)
    finally:
        os.close(fd)


def _take_turn(fd: int) -> bool:
    """Whether no other writer is at the file until it is closed; one that was stopped in its turn is not waited for."""
    deadline = time.monotonic() + _TURN_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD or time.monotonic() >= deadline:
                return False
        time.sleep(0.01)


def read_lines(path: str, most: int = 1 << 20) -> list[Json]:
    """The objects in the last `most` bytes of a file of JSON lines; incomplete ones are left out."""
    lines = _tail(path, most).split("\n")  # splitlines splits at U+2028 as well, which JSON leaves within a line
    return [value for value in map(parse, lines) if value is not None]


def each_line(path: str) -> Iterator[Json]:
    """Every object of a file of JSON lines, one at a time: a long run's metrics need not fit into memory."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                value = parse(line)
                if value is not None:
                    yield value
    except OSError:
        return


def last_lines(path: str, most: int = 1 << 20) -> list[str]:
    """The lines in the last `most` bytes of a file, none where there is no such file; the first may be a part."""
    return _tail(path, most).splitlines()


def _tail(path: str, most: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def parse(line: str) -> Json | None:
    """An object, or None for anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_number(value: object) -> float | None:
    """A finite number of a record, which may have been damaged; None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < _LARGEST:
        return None
    return float(value)


def as_whole(value: object) -> int | None:
    """The same of an integer."""
    return value if isinstance(value, int) and as_number(value) is not None else None


def _write_some(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except OSError as error:
        if error.errno in _PASSING:
            return 0
        raise


def _dumps(value: Json) -> str:
    return json.dumps(redaction.record(value), ensure_ascii=False) + "\n"


def _put(path: str, text: str, place: Callable[[str, str], None], durably: bool = True) -> None:
    # two nodes may have the same pid
    name = f".{os.path.basename(path)}.{os.urandom(4).hex()}.tmp"
    temporary = os.path.join(os.path.dirname(path), name)
    try:
        with open(temporary, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            if durably:
                os.fsync(file.fileno())
        place(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    if place is not os.replace:
        _remove(temporary)


def remove(path: str) -> bool:
    """Remove a file; False where there was none, or it stays."""
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the race is then between writers of the same content
        if os.path.exists(target):
            raise FileExistsError(target) from None
        os.replace(source, target)


def _patiently(act: Callable[[], None], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return act()
        except OSError as error:
            if error.errno not in _PASSING or patience_s <= 0:
                raise
            if error.errno in FULL and any(release() for release in _release):
                continue
            if time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_EVERY_S)
