"""Collects facts about data on the machine where it runs; checks/ judges them.

The launcher calls `answer` for this machine, and sends this file to a login node, as a script for its Python. So it
needs nothing but the standard library of Python 3.6. Of a shard it reads sizes, headers and a few thousand ids, never
all of it.

Formats: Megatron's .idx is b"MMIDIDX", two zeros, <Q version, <B type, <Q sequences n, <Q m, int32[n] lengths,
int64[n] byte offsets, int64[m] documents (nemo_automodel, components/datasets/llm/megatron/indexed_dataset.py).
nanoGPT's .bin is int32[256], of which the first four are magic, version, tokens and bytes a token, then the tokens; its
.bos.idx int32 positions (components/datasets/llm/nanogpt_dataset.py).
"""

import array
import glob
import hashlib
import json
import os
import struct
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

HEADER = struct.Struct("<9sQBQQ")
CODES = {1: "B", 2: "b", 3: "h", 4: "i", 5: "q", 8: "H"}  # of integers; 6 and 7 are float64 and float32
SAMPLED = 64  # shards of which ids are read, spread evenly over all
SAMPLE = 4096  # bytes from the start and from the end of a sampled shard
LARGEST = 4 << 20  # bytes of the largest JSON file that is read
LARGEST_TOKENIZER = 64 << 20
_MAGIC, _LEGACY = 278895051, 20240520


class Prober:
    """One probe: `mounts` map a path of the job to one of this machine; it ends after `seconds`. `seen`: what earlier
    ones have read, which is not read again while sizes and times of the files stay what they were.
    """

    def __init__(self, mounts: List[List[str]], seconds: float, seen: Optional[Dict[Any, Any]] = None) -> None:
        self.seen = {} if seen is None else seen
        self.mounts = sorted(mounts, key=lambda mount: -len(mount[0]))
        self.end = time.monotonic() + seconds

    def late(self) -> bool:
        """The time is over."""
        return time.monotonic() > self.end

    def place(self, path: str) -> Optional[str]:
        """Where a path of the job is on this machine; None: on no mount, or its variable is not set in this shell."""
        if "\0" in path:
            return None
        if not self.mounts:
            return path
        for target, source in self.mounts:
            if path == target or path.startswith(target.rstrip("/") + "/"):
                here = os.path.expanduser(os.path.expandvars(source)) + path[len(target.rstrip("/")) :]
                return None if here.startswith(("$", "~")) else here
        return None

    def back(self, path: str, asked: str, here: str) -> str:
        """The job's path of a file that a pattern matched here."""
        kept = os.path.commonprefix([asked[::-1], here[::-1]])[::-1]
        return asked[: len(asked) - len(kept)] + path[len(here) - len(kept) :]

    def blend(self, path: str) -> Dict[str, Any]:
        """A JSON file: its `value`, or the `error`; `own`: a shard beside it where it names another."""
        here = self.place(path)
        if here is None:
            return {"elsewhere": True}
        found = _json(here)
        own = self._own(here, found.get("value"))
        return dict(found, own=own) if own else found

    def _own(self, here: str, blend: Any) -> Optional[str]:
        """Of a copy of data-prep's output, whose blend still names the original's shards: a shard of the copy."""
        root = os.path.dirname(os.path.realpath(here))
        named = next(prefixes(blend), None)
        place = self.place(named) if named and os.path.isfile(os.path.join(root, "record.json")) else None
        if not named or not place:
            return None
        own = os.path.join(os.path.dirname(root), *named.split("/")[-3:])
        if not os.path.isfile(own + ".idx"):
            return None
        same = os.path.isfile(place + ".idx") and os.path.samefile(own + ".idx", place + ".idx")
        return None if same else own

    def matches(self, pattern: str) -> Dict[str, Any]:
        """The files that a pattern matches, in order."""
        here = self.place(pattern)
        if here is None:
            return {"elsewhere": True}
        return {"files": [self.back(path, pattern, here) for path in sorted(glob.glob(here))]}

    def once(self, key: Any, files: List[str], read: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
        """What `read` finds in the files."""
        try:
            stamp = [(one.st_ino, one.st_size, one.st_mtime_ns) for one in map(os.stat, files)]
        except OSError:
            return read()
        known = self.seen.get(key)
        if known is None or known[0] != stamp:
            known = self.seen[key] = (stamp, read())
        return dict(known[1])

    def pair(self, prefix: str, sampled: bool) -> Dict[str, Any]:
        """Sizes of PREFIX.bin and .idx; header of the .idx, its first length, second offset, and the last ones."""
        here = self.place(prefix)
        if here is None:
            return {"elsewhere": True}
        files = [here + ".bin", here + ".idx"]
        return self.once((prefix, here, sampled), files, lambda: self._pair(prefix, str(here), sampled))

    def _pair(self, prefix: str, here: str, sampled: bool) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        try:
            found["bin"] = os.stat(here + ".bin").st_size
            file = os.open(here + ".idx", os.O_RDONLY)
            try:
                found["idx"] = os.fstat(file).st_size
                found.update(_index(file, found["idx"]))
            finally:
                os.close(file)
            if sampled and found.get("type") in CODES:
                found.update(_ids(here + ".bin", CODES[found["type"]], 0, found["bin"]))
        except OSError as error:
            found["error"], found["file"] = error.strerror, prefix + str(error.filename)[len(here) :]
        return found

    def shard(self, path: str, sampled: bool, bos: bool) -> Dict[str, Any]:
        """A nanoGPT .bin: its size and header; with `bos` its .bos.idx, too."""
        here = self.place(path)
        if here is None:
            return {"elsewhere": True}
        files = [here] + ([_bos_path(here)] if bos else [])
        return self.once((path, here, sampled, bos), files, lambda: self._shard(path, str(here), sampled, bos))

    def _shard(self, path: str, here: str, sampled: bool, bos: bool) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        try:
            file = os.open(here, os.O_RDONLY)
            try:
                found["bin"] = os.fstat(file).st_size
                head = os.pread(file, 16, 0)
            finally:
                os.close(file)
            if len(head) == 16:
                found["magic"], found["version"], found["tokens"], found["item"] = struct.unpack("<4i", head)
                if found["magic"] == _LEGACY:
                    found["item"] = 2
            code = {2: "H", 4: "I"}.get(found.get("item", 0))
            if code and found["magic"] in (_MAGIC, _LEGACY):
                if sampled:
                    found.update(_ids(here, code, 1024, found["bin"]))
                if bos:
                    found["bos"] = _bos(here, found["item"])
        except OSError as error:
            found["error"], found["file"] = error.strerror, path
        return found

    def folder(self, path: str, wanted: List[str]) -> Dict[str, Any]:
        """Which of the wanted names a directory has, the content of its config.json, and its tokenizer's class."""
        here = self.place(path)
        if here is None:
            return {"elsewhere": True}
        if not os.path.isdir(here):
            return {"missing": True}
        found: Dict[str, Any] = {"names": [name for name in wanted if os.path.isfile(os.path.join(here, name))]}
        if "config.json" in found["names"]:
            found["config"] = _json(os.path.join(here, "config.json")).get("value")
        described = _json(os.path.join(here, "tokenizer_config.json")).get("value")
        if isinstance(described, dict):
            found["tokenizer_class"] = described.get("tokenizer_class")
        return found

    def writable(self, path: str) -> Dict[str, Any]:
        """Whether a directory can be created or written: the nearest existing one above it, and the error.

        Told from permissions and a read-only mount; nothing is written, so a full quota is not found.
        """
        here = self.place(path)
        if here is None:
            return {"elsewhere": True}
        while not os.path.lexists(here) and here != "/":
            here = os.path.dirname(here)
        if not os.path.isdir(here):
            return {"base": here, "error": "Not a directory"}
        if os.path.realpath(here).split(os.sep)[1] in ("proc", "sys"):
            return {"base": here, "error": "a directory of the kernel, which takes no files"}
        return {"base": here, "error": None if os.access(here, os.W_OK | os.X_OK) else "Permission denied"}

    def record(self, path: str) -> Dict[str, Any]:
        """What data-prep has recorded one directory above a path: beside a blend, above a split of nanoGPT shards.

        The path may lead there through a link (`latest`).
        """
        here = self.place(path)
        if here is None:
            return {}
        found = _json(os.path.join(os.path.dirname(os.path.realpath(here)), "record.json")).get("value")
        return {key: found.get(key) for key in ("tokenizer", "dtype")} if isinstance(found, dict) else {}

    def tokenizer(self, path: str, rules: bool) -> Dict[str, Any]:
        """Digests of a tokenizer.json: of the file and, with `rules`, of its meaning."""
        here = self.place(path)
        if here is None:
            return {"elsewhere": True}
        try:
            with open(here, "rb") as file:
                content = file.read(LARGEST_TOKENIZER)
        except OSError:
            return {"missing": True}
        found = {"sha256": hashlib.sha256(content).hexdigest()}
        return dict(found, rules=_rules(content)) if rules else found


def _rules(content: bytes) -> str:
    """A digest of a tokenizer.json that leaves out its formatting, and what only saving it has set."""
    try:
        value = json.loads(content.decode("utf-8"))
        kept = {k: v for k, v in value.items() if k not in ("truncation", "padding")}
        content = json.dumps(kept, sort_keys=True).encode()
    except (ValueError, AttributeError, RecursionError):
        pass
    return hashlib.sha256(content).hexdigest()


def _json(path: str) -> Dict[str, Any]:
    try:
        if os.stat(path).st_size > LARGEST:
            return {"error": "has more than {} bytes".format(LARGEST)}
        with open(path, encoding="utf-8") as file:
            return {"value": json.load(file)}
    except FileNotFoundError:
        return {"missing": True}
    except RecursionError:
        return {"error": "is nested too deeply"}
    except (OSError, ValueError) as error:
        return {"error": getattr(error, "strerror", None) or str(error)}


def _index(file: int, size: int) -> Dict[str, Any]:
    head = os.pread(file, HEADER.size, 0)
    if len(head) < HEADER.size:
        return {"short": True}
    magic, version, kind, sequences, documents = HEADER.unpack(head)
    found: Dict[str, Any] = {"magic": magic == b"MMIDIDX\0\0", "version": version, "type": kind}
    if found["magic"] and size >= HEADER.size + 12 * sequences + 8 * documents:
        found.update(sequences=sequences, documents=documents)
        offsets = HEADER.size + 4 * sequences
        if sequences:
            found["last"] = _number(file, "<i", offsets - 4)
            found["start"] = _number(file, "<q", offsets + 8 * (sequences - 1))
        if sequences > 1:
            found["first"] = _number(file, "<i", HEADER.size)
            found["second"] = _number(file, "<q", offsets + 8)
    elif found["magic"]:
        found["need"] = HEADER.size + 12 * sequences + 8 * documents
    return found


def _number(file: int, form: str, offset: int) -> int:
    return int(struct.unpack(form, os.pread(file, struct.calcsize(form), offset))[0])


def _ids(path: str, code: str, start: int, size: int) -> Dict[str, int]:
    """Smallest and largest id of a few thousand, from the start and the end of a file of little-endian ids."""
    item = array.array(code).itemsize
    count = (size - start) // item
    most = SAMPLE // item
    file = os.open(path, os.O_RDONLY)
    try:
        parts = [os.pread(file, min(count, most) * item, start)]
        if count > most:
            parts.append(os.pread(file, most * item, start + (count - most) * item))
    finally:
        os.close(file)
    ids = array.array(code)
    for part in parts:
        ids.frombytes(part[: len(part) // item * item])
    if sys.byteorder == "big":
        ids.byteswap()
    return {"low": min(ids), "high": max(ids), "read": len(ids)} if ids else {}


def _bos_path(path: str) -> str:
    return path[: -len(".bin")] + ".bos.idx" if path.endswith(".bin") else path + ".bos.idx"


def _bos(path: str, item: int) -> Optional[Dict[str, Any]]:
    """Size of the .bos.idx, its last position, and the ids at its first ones; None where it does not exist."""
    try:
        file = os.open(_bos_path(path), os.O_RDONLY)
    except OSError:
        return None
    try:
        size = os.fstat(file).st_size
        first = [position for (position,) in struct.iter_unpack("<i", os.pread(file, 32, 0)[: size // 4 * 4])]
        last = struct.unpack("<i", os.pread(file, 4, size // 4 * 4 - 4))[0] if size >= 4 else None
    finally:
        os.close(file)
    with open(path, "rb") as tokens:
        read = (_at(tokens, 1024 + position * item, item) for position in first)
        ids = [int.from_bytes(raw, "little") for raw in read if len(raw) == item]
    return {"size": size, "last": last, "ids": ids}


def _at(file: Any, offset: int, count: int) -> bytes:
    return os.pread(file.fileno(), count, offset) if offset >= 0 else b""


def prefixes(value: Any) -> Iterator[str]:
    """Everything in a blend that may be a prefix: each string that is no number."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from prefixes(one)
    elif isinstance(value, str) and value.strip().startswith("/"):
        yield without_ending(value)


def without_ending(prefix: str) -> str:
    """A prefix may be written as either of its files, and with blanks around it (indexed_dataset.py does the same)."""
    prefix = prefix.strip()
    return prefix[:-4] if prefix.endswith((".bin", ".idx")) else prefix


def answer(request: Dict[str, Any], seen: Optional[Dict[Any, Any]] = None) -> Dict[str, Any]:
    """Answers by the request's own keys, each a mapping by path; what there was no time for is missing from it.

    `pairs`, `globs` and `blends` name Megatron data, `shards` patterns of nanoGPT files, and `bos` whether their
    .bos.idx matter; `folders` are searched for the names in `wanted`; `tokenizers` are files, and
    `recorded` is {path, sha256} of those that made the data, where that is known already.
    """
    prober = Prober(request["mounts"], request["seconds"], seen)
    facts: Dict[str, Any] = {"globs": {pattern: prober.matches(pattern) for pattern in request["globs"]}}
    facts["blends"] = {path: prober.blend(path) for path in request["blends"]}
    outputs = list(request["blends"]) + [os.path.dirname(pattern) for pattern in request["shards"]]
    facts["records"] = {path: prober.record(path) for path in outputs}
    facts["folders"] = {path: prober.folder(path, request["wanted"]) for path in request["folders"]}
    facts["writable"] = {path: prober.writable(path) for path in request["writable"]}
    facts["shards"] = {pattern: prober.matches(pattern) for pattern in request["shards"]}
    facts["tokenizers"] = _tokenizers(prober, request, facts["records"])
    pairs = list(request["pairs"]) + [p for found in facts["blends"].values() for p in prefixes(found.get("value"))]
    pairs += [os.path.splitext(path)[0] for found in facts["globs"].values() for path in found.get("files", [])]
    facts["pairs"] = _each(prober, pairs, prober.pair)
    files = [path for found in facts["shards"].values() for path in found.get("files", [])]
    facts["files"] = _each(prober, files, lambda path, sampled: prober.shard(path, sampled, request["bos"]))
    return facts


def _each(prober: Prober, names: List[str], one: Callable[[str, bool], Dict[str, Any]]) -> Dict[str, Any]:
    names = list(dict.fromkeys(names))
    step = -(-len(names) // SAMPLED)
    return {name: one(name, number % step == 0) for number, name in enumerate(names) if not prober.late()}


def _tokenizers(prober: Prober, request: Dict[str, Any], records: Dict[str, Any]) -> Dict[str, Any]:
    """Digests of the tokenizers, where the one that made the data is known."""
    recorded = [record.get("tokenizer") for record in records.values()] + list(request["recorded"])
    used = {one.get("path"): one.get("sha256") for one in recorded if isinstance(one, dict)}
    if not used:
        return {}
    found = {path: prober.tokenizer(path, False) for path in request["tokenizers"]}
    if all(one.get("sha256") in used.values() for one in found.values()):
        return found
    paths = list(request["tokenizers"]) + [path for path in used if isinstance(path, str)]
    return {path: prober.tokenizer(path, True) for path in paths}
