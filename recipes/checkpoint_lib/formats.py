"""What the files of a checkpoint say about themselves, read without torch and without running anything in them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import regular

_LONGEST_HEADER = 100_000_000  # the limit of safetensors' own reader
_LARGEST_READ = 64 << 20  # larger archives are not read through; their directory of contents is


class Damaged(Exception):
    """A file is not what its format asks for; the message says how, and does not name the file."""


@dataclass(frozen=True)
class Piece:
    """A tensor, or one rank's part of it."""

    shape: tuple[int, ...]
    offset: tuple[int, ...]

    @property
    def elements(self) -> int:
        """The number of elements in this piece."""
        count = 1
        for length in self.shape:
            count *= length
        return count


def read_safetensors(path: Path) -> dict[str, Piece]:
    """Name -> piece of every tensor in the file, after its length was found to be what its header says.

    The format (https://github.com/huggingface/safetensors#format): 8 bytes, little-endian, the header's length N; N
    bytes of JSON, {name: {"dtype", "shape", "data_offsets": [begin, end]}}, offsets counted from the header's end;
    then the tensors without holes. torch's HuggingFaceStorageWriter puts where a shard's pieces begin in the full
    tensors into `__metadata__`, as JSON in a string: DCP_SHARDING_INFO = {name: {"saved_offsets": [...]}}.

    Raises:
        Damaged: The file is cut off, too long, or its header is not one.
    """
    if not path.is_file():  # a pipe would have to be waited for
        raise Damaged("no regular file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise Damaged(f"{size} bytes, and no safetensors header in them")
        text = file.read(length)
    try:
        header = json.loads(text)
        places = json.loads(header.pop("__metadata__", {}).get("DCP_SHARDING_INFO", "{}"))
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        pieces = {name: _piece(tensor, places.get(name)) for name, tensor in header.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Damaged(f"its safetensors header cannot be read: {type(error).__name__}") from None
    if size != 8 + length + end:
        raise Damaged(f"{size} bytes instead of the {8 + length + end} that its safetensors header names")
    return pieces


def _piece(tensor: dict[str, Any], place: dict[str, Any] | None) -> Piece:
    shape = tuple(int(length) for length in tensor["shape"])
    return Piece(shape, tuple(int(begin) for begin in place["saved_offsets"]) if place else (0,) * len(shape))


def check_archive(path: Path) -> None:
    """Read a file of torch.save, which is a zip archive without compression, and compare its checksums.

    Raises:
        Damaged: It is empty, cut off, or a checksum differs.
    """
    size = path.stat().st_size
    if size == 0:
        raise Damaged("empty")
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip() if size <= _LARGEST_READ else None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        raise Damaged(f"{size} bytes that are not a complete archive of torch.save") from None
    if bad is not None:
        raise Damaged(f"a checksum is wrong in it ({bad})")


def read_archive(path: Path) -> Any:
    """The value in a file of torch.save; everything that is not a plain Python value is an empty stand-in.

    Raises:
        Damaged: There is no value in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            return _unpickle(archive.read(name))
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, StopIteration):
        raise Damaged("not a complete archive of torch.save") from None


@dataclass(frozen=True)
class Index:
    """What `.metadata` of a DCP directory says: bytes that each file must have, and the full tensors' shapes."""

    files: dict[str, int]
    shapes: dict[str, tuple[int, ...]]


def read_dcp_index(path: Path) -> Index:
    """The index of a distributed checkpoint: torch.distributed.checkpoint.metadata.Metadata, pickled.

    Raises:
        Damaged: It is empty, cut off, or something else.
    """
    metadata = _unpickle(regular.content(path))
    try:
        files: dict[str, int] = {}
        for stored in metadata.storage_data.values():
            files[stored.relative_path] = max(files.get(stored.relative_path, 0), stored.offset + stored.length)
        tensors = {name: value for name, value in metadata.state_dict_metadata.items() if hasattr(value, "size")}
        # torch.Size is called with one tuple
        shapes = {name: tuple(value.size.called_with[0]) for name, value in tensors.items()}
    except (AttributeError, TypeError, IndexError):
        raise Damaged("not the metadata of a distributed checkpoint") from None
    return Index(files, shapes)


class _StandIn:
    """Takes the place of every class in a pickle: keeps what it was made from, and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.called_with = args

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):  # a class may hand over anything; those whose content counts here do not
            self.__dict__.update(state)

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


class _Inert(pickle.Unpickler):
    """Unpickling imports and calls whatever a file names. This one imports nothing, so that any file may be read."""

    def find_class(self, module: str, name: str) -> Any:
        return dict if (module, name) == ("collections", "OrderedDict") else type(name, (_StandIn,), {})

    def persistent_load(self, pid: Any) -> Any:
        return None


def _unpickle(data: bytes) -> Any:
    try:
        return _Inert(io.BytesIO(data)).load()
    except Exception as error:  # damaged bytes can make unpickling raise anything
        raise Damaged(f"{len(data)} bytes that cannot be unpickled: {type(error).__name__}") from None
