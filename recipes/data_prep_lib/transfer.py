"""A complete output to an object store, and back: `upload: s3://BUCKET/PREFIX`, `fetch s3://BUCKET/PREFIX/HASH DIR`.

The copy is PREFIX/HASH/, with the files as they are here. blend.json and then record.json come last: an output that has
the latter is complete there, too. What is there in full size is not sent again: the bytes below a HASH never differ.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import TypeVar

from data_prep_lib import addresses, nodes, relocate, schema, stores
from data_prep_lib.blend import moved
from data_prep_lib.errors import InputError
from data_prep_lib.layout import SPLITS, Layout
from data_prep_lib.safe_files import remove_leftovers, write_json, writing

_AT_ONCE = 8  # files; each is sent in several parts as well
_PART = 16 << 20  # bytes: stores take 10,000 parts of a file
_LAST = ("blend.json", "record.json")  # in this order, as data-prep itself writes them
Say = Callable[[str], None]
T = TypeVar("T")


def check(address: str) -> None:
    """Refuse before the work what could not be uploaded after it.

    Raises:
        DataPrepError: nothing can be written there; the message says why.
    """
    place, key = stores.parts(address)
    stores.asked(
        address, lambda: stores.store(place).put(_join(key, ".data-prep"), b"written before the work begins\n")
    )


def upload(shards: Path, root: Path, address: str, say: Say) -> None:
    """Copy an output: `root` has its blend.json and record.json, `shards` the files that these name.

    Raises:
        DataPrepError: the store refuses, or does not answer; the same command again goes on.
    """
    files = [path for split in SPLITS for path in sorted((shards / split).glob("*")) if path.is_file()]
    there = dict(_sizes(f"{address.rstrip('/')}/{shards.name}"))
    todo = [path for path in files if there.get(path.relative_to(shards).as_posix()) != path.stat().st_size]
    place, key = stores.parts(address)

    def send(path: Path, name: str) -> None:
        target = _join(key, name)
        stores.asked(f"{place}/{target}", lambda: stores.store(place).put(target, path, chunk_size=_PART))

    _each(todo, lambda path: send(path, f"{shards.name}/{path.relative_to(shards).as_posix()}"))
    for name in _LAST:
        if (root / name).exists():
            send(root / name, f"{root.name}/{name}")
    size = sum(path.stat().st_size for path in todo) / 1e6
    say(f"uploaded to {address.rstrip('/')}/{root.name}: {len(todo)} of {len(files)} files, {size:.1f} MB")


def main(address: str, directory: Path) -> int:
    """`fetch`: an output of a store into DIRECTORY/HASH, its blend.json naming the shards there.

    Raises:
        InputError: there is no complete output at the address.
        DataPrepError: the store does not answer; the same command again goes on.
        DataPrepError: another process makes or fetches it now.
        OSError: it cannot be written here.
    """
    address = addresses.of_output("address", address)
    found = dict(_sizes(address))
    if "record.json" not in found:
        raise InputError(
            f"{address}: no complete output of data-prep is there\n  name PREFIX/HASH, as data-prep has said it"
        )
    base, _, name = address.rpartition("/")
    files = {f"{name}/{file}": size for file, size in found.items() if file not in _LAST}
    if "blend.json" in found:
        for other in _shard_directories(f"{address}/blend.json", found["blend.json"]) - {name}:
            beside = dict(_sizes(f"{base}/{other}"))
            files |= {f"{other}/{file}": size for file, size in beside.items() if file not in _LAST}
    here = schema.path("directory", str(directory))
    with ExitStack() as stack:
        for place in sorted({name, *(file.partition("/")[0] for file in files)}):
            stack.enter_context(_alone(here / place))
        _fetched(address, here, files, {file: found[file] for file in _LAST if file in found})
        return relocate.main(here / name) if "blend.json" in found else 0


def _alone(root: Path) -> AbstractContextManager[None]:
    """No other process makes or fetches this output meanwhile; what a killed one has left half-written goes."""

    def clean() -> None:
        for place in (root, *(root / split for split in SPLITS)):
            remove_leftovers(place)

    return nodes.locked(Layout(root).state, nodes.Node(), lambda text: print(text, file=sys.stderr), clean)


def _fetched(address: str, here: Path, files: Mapping[str, int], last: Mapping[str, int]) -> None:
    base, _, name = address.rpartition("/")
    todo = [file for file in sorted(files) if not _has(here / file, files[file])]
    _each(todo, lambda file: _get(f"{base}/{file}", here / file, files[file]))
    for file, size in last.items():
        if file == "blend.json":  # one that named the shards elsewhere would be left by a kill
            write_json(here / name / file, moved(_blend(f"{address}/{file}", size), here.absolute()))
        else:
            _get(f"{address}/{file}", here / name / file, size)
    print(f"{here / name}: {len(todo)} of {len(files)} files fetched", file=sys.stderr)


def _shard_directories(address: str, size: int) -> set[str]:
    """The outputs whose shards a blend.json names: an output of other weights has those of another one."""
    blend = _blend(address, size)
    return {Path(entry).parents[1].name for entries in blend.values() for entry in entries if "/" in entry}


def _blend(address: str, size: int) -> dict[str, list[str]]:
    try:
        value = json.loads(stores.read_range(address, 0, size)[0])
        found = {str(split): [str(entry) for entry in entries] for split, entries in value.items()}
        if all(len(Path(entry).parents) > 1 for entries in found.values() for entry in entries if "/" in entry):
            return found
    except (ValueError, AttributeError, TypeError):
        pass
    raise InputError(f"{address}: it is no blend.json of data-prep\n  upload the output once more")


def _get(address: str, path: Path, size: int) -> None:
    """In ranges of one version, so that a file is complete and of one piece when it gets its name."""
    version, at = "", 0
    with writing(path) as file:
        while at < size:
            data, meta = stores.read_range(address, at, min(size, at + _PART), version)
            version = version or stores.version_of(meta)
            file.write(data)
            at += len(data)


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _sizes(address: str) -> Iterable[tuple[str, int]]:
    place, key = stores.parts(address)
    for meta in stores.listed(place, key):
        yield str(meta["path"])[len(key) + 1 :], int(meta["size"])


def _each(items: Sequence[T], do: Callable[[T], None]) -> None:
    """Several at once; the first error ends the others."""
    left, errors = deque(items), list[BaseException]()

    def work() -> None:
        while left and not errors:
            with suppress(IndexError):  # another has taken the last one
                item = left.popleft()
                try:
                    do(item)
                except BaseException as e:
                    errors.append(e)

    # Not a pool: its threads would be waited for at an interrupt, too, and a file may be large.
    threads = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _join(prefix: str, name: str) -> str:
    return f"{prefix.strip('/')}/{name}".lstrip("/")
