"""Shards: they exist, and are complete as far as sizes, headers and the last sequence show.

`data-prep inspect` reads every byte.

AutoModel notices a shard that is cut off, of another type or from another tokenizer only when it draws a sample of it,
hours into a run, or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from automodel_launch.backends.automodel import datasets, loader
from automodel_launch.backends.automodel.checks.blends import PREPARE, named
from automodel_launch.backends.data import probe
from automodel_launch.backends.data.facts import DataFacts, Facts
from automodel_launch.backends.data.paths import outside, relative
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

ITEM = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 8, 7: 4, 8: 2}  # bytes of an id, by the type in an .idx
HEADER = 1024  # bytes of a nanoGPT shard's header
MAGICS = (278895051, 20240520)
_INSPECT = "python launch.py data-prep inspect {} tells more; prepare it again"
_SHOWN = 3  # faults of one kind are reported for so many shards; the others are counted


def megatron(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Prefixes of bin/idx pairs."""
    uses: dict[str, str] = {}
    faults = []
    for use in named(plan, data):
        if isinstance(use, Finding):
            yield use
        else:
            uses.setdefault(use.prefix, use.where)
    for prefix, where in uses.items():
        fault = pair_fault(prefix, data.about("pairs", prefix))
        if fault:
            faults.append((prefix, where, *fault))
    yield from _grouped(plan, faults)
    yield from _unread(uses, data.answer.get("pairs", {}), data)


def nanogpt(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """.bin shards with a header."""
    faults, paths = [], []
    for key, pattern in patterns(plan):
        where = f"{key} ({source(plan, key)})"
        if not pattern.startswith("/"):
            yield relative(where, pattern)
            continue
        facts = data.about("shards", pattern)
        files = facts.get("files", [])
        if "files" in facts and not files:
            message = f"{where}: no file matches {pattern}{outside(plan, pattern)}."
            yield Finding("error", "no-data", message, PREPARE)
        paths += files
        for path in files:
            fault = shard_fault(path, data.about("files", path))
            if fault:
                faults.append((path, where, *fault))
    yield from _grouped(plan, faults)
    yield from _unread(paths, data.answer.get("files", {}), data)


def patterns(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, pattern) of nanoGPT data."""
    for key, value in datasets.data_paths(plan.config):
        if key.endswith("file_pattern") and not dotted.left_to_the_job(value):
            yield from ((key, str(one)) for one in (value if isinstance(value, list) else [value]))


Fault = tuple[str, str, str]  # what is wrong in general, with this shard, and the fix


def pair_fault(prefix: str, facts: Facts) -> Fault | None:
    """What is wrong with a bin/idx pair. Sizes of the .bin against the last sequence: a cut .bin, and a wrong type that
    is not as wide as the right one; one of the same width (uint16 read as int16) is not found.
    """
    if "elsewhere" in facts:
        return None
    if "error" in facts:
        return _unreadable(facts)
    for end in ("bin", "idx"):
        if facts[end] == 0:
            return "empty", f"{prefix}.{end} is empty", PREPARE
    inspect = _INSPECT.format(prefix)
    if facts.get("short") or not facts.get("magic") or facts["version"] != 1:
        return "no index", f"{prefix}.idx is not an index of Megatron data", inspect
    kind = facts["type"]
    if kind not in probe.CODES:
        other = "floating-point numbers" if kind in ITEM else f"type {kind}, which does not exist"
        return "type", f"{prefix}.idx says that the ids are {other}", inspect
    if "need" in facts:
        sizes = f"{facts['idx']:,} bytes and should have {facts['need']:,}"
        return "cut", f"{prefix}.idx has {sizes}: it is cut off", inspect
    if not facts["sequences"]:
        return "empty", f"{prefix}.idx holds no sequence", PREPARE
    return _size_fault(prefix, facts, ITEM[kind], inspect) or _negative(prefix, facts, inspect)


def _size_fault(prefix: str, facts: Facts, item: int, inspect: str) -> Fault | None:
    if "second" in facts and facts["second"] != facts["first"] * item:
        describe = f"{prefix}.idx says {item} bytes an id, and its offsets are those of another type"
        return "type", describe, inspect
    need = facts["start"] + facts["last"] * item
    if facts["bin"] == need or need <= 0:
        return None if need > 0 else ("offsets", f"{prefix}.idx has invalid offsets", inspect)
    for other in (1, 2, 4, 8):
        if other != item and facts["bin"] * item == need * other:
            describe = f"{prefix}.idx says {item} bytes an id, and the .bin has {other}: training would read garbage"
            return "type", describe, inspect
    state = "cut off" if facts["bin"] < need else "longer than its .idx says"
    return "size", f"{prefix}.bin has {facts['bin']:,} bytes and should have {need:,}: it is {state}", inspect


def _negative(path: str, facts: Facts, inspect: str) -> Fault | None:
    if facts.get("low", 0) < 0:
        return "negative", f"{path} holds the id {facts['low']}: it is not a file of ids, or has another type", inspect
    return None


def shard_fault(path: str, facts: Facts) -> Fault | None:
    """What is wrong with a nanoGPT shard."""
    if "elsewhere" in facts:
        return None
    if "error" in facts:
        return _unreadable(facts)
    inspect = _INSPECT.format(path)
    if facts["bin"] <= HEADER:
        return "empty", f"{path} holds no tokens", PREPARE
    if facts["magic"] not in MAGICS or facts["version"] != 1 or facts["item"] not in (2, 4):
        return "no shard", f"{path} does not start with the header of a nanoGPT shard", inspect
    if facts["tokens"] <= 0:
        describe = f"{path}: its header says {facts['tokens']} tokens, as a killed writer leaves it"
        return "unfinished", f"{describe}; NanogptDataset would never end", inspect
    need = HEADER + facts["tokens"] * facts["item"]
    if facts["bin"] != need:
        state = "cut off" if facts["bin"] < need else "longer than its header says"
        return "size", f"{path} has {facts['bin']:,} bytes and should have {need:,}: it is {state}", inspect
    return None


def _unreadable(facts: Facts) -> Fault:
    if facts["error"] == "No such file or directory":
        return "missing", f"{facts['file']} does not exist", PREPARE
    return "unreadable", f"{facts['file']}: {facts['error']}", "its permissions; the job reads it as you"


def _grouped(plan: Plan, faults: list[tuple[str, str, str, str, str]]) -> Iterator[Finding]:
    """The first faults of each kind, and how many more there are like the last one."""
    kinds: dict[str, list[tuple[str, str, str, str, str]]] = {}
    for fault in faults:
        kinds.setdefault(fault[2], []).append(fault)
    for kind, like in kinds.items():
        for number, (name, where, _, message, fix) in enumerate(like[:_SHOWN], 1):
            left = len(like) - _SHOWN if number == _SHOWN else 0
            more = f"; {left} more have the same fault" if left > 0 else ""
            text = f"{where}: {message}{outside(plan, name)}{more}."
            if kind in ("missing", "empty"):
                yield Finding("error", "no-data", text, fix)
            else:
                yield Finding("error", "bad-shard", text, fix)


def _unread(names: Iterable[str], looked: Any, data: DataFacts) -> Iterator[Finding]:
    missing = sum(name not in looked for name in dict.fromkeys(names)) if data.answer else 0
    if missing:
        message = f"{missing} shards were not looked at: the file system is slow, and the time limit was reached."
        yield Finding("note", "not-looked-at", message)


def bos(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """With align_to_bos sequences start where .bos.idx says; AutoModel's own tool writes byte offsets into it, which
    its reader takes for positions, and then almost no sequence starts at a document.
    """
    key = "dataset.bos_token"
    if not datasets.aligns(plan.config):
        return
    token = loader.value(plan.config, key)
    if token is None:
        message = f"{describe(plan, 'dataset.align_to_bos')} needs {key}, which is not given."
        yield Finding("error", "bos-index", message, f"+{key}=ID, the id of BOS in record.json")
        return
    for _, record in data.records:
        made = (record.get("tokenizer") or {}).get("bos_id")
        if made is not None and made != token:
            message = f"{describe(plan, key)}: documents of the data start with the id {made}."
            yield Finding("error", "bos-index", message, f"{key}={made}")
            return
    for path, facts in data.answer.get("files", {}).items():
        index = facts.get("bos")
        if "elsewhere" in facts or "tokens" not in facts or facts.get("error"):
            continue
        name = f"{path.removesuffix('.bin')}.bos.idx"
        if index is None:
            message = f"{describe(plan, 'dataset.align_to_bos')}: there is no {name}; every token is searched for BOS."
            yield Finding("warning", "bos-index", message, "data-prep -c nanogpt writes it")
            return
        beyond = index["last"] is None or index["last"] >= facts["tokens"]
        if index["size"] % 4 or beyond or any(at != token for at in index["ids"]):
            others = f"positions of the ids {', '.join(map(str, index['ids'][:3]))}"
            what = "byte offsets, or those of another file" if beyond else others
            message = f"{describe(plan, 'dataset.align_to_bos')}: {name} holds {what}, not positions of {token}."
            yield Finding("error", "bos-index", message, "prepare it again with data-prep -c nanogpt")
            return
