"""Shards: they exist, and are complete as far as sizes, headers and the last sequence show.

`data-prep inspect` reads every byte.

AutoModel notices a shard that is cut off, of another type or from another tokenizer only when it draws a sample of it,
hours into a run, or never.
"""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets, loader
from automodel_launch.backends.automodel.checks.blends import named
from automodel_launch.backends.data import pairs
from automodel_launch.backends.data.blends import PREPARE
from automodel_launch.backends.data.facts import DataFacts, Facts
from automodel_launch.backends.data.pairs import INSPECT
from automodel_launch.backends.data.paths import outside, relative
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

HEADER = 1024  # bytes of a nanoGPT shard's header
MAGICS = (278895051, 20240520)


def megatron(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Prefixes of bin/idx pairs."""
    yield from pairs.check(plan, named(plan, data), data)


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
    yield from pairs.grouped(plan, faults)
    yield from pairs.unread(paths, data.answer.get("files", {}), data)


def patterns(plan: Plan) -> Iterator[tuple[str, str]]:
    """(key, pattern) of nanoGPT data."""
    for key, value in datasets.data_paths(plan.config):
        if key.endswith("file_pattern") and not dotted.left_to_the_job(value):
            yield from ((key, str(one)) for one in (value if isinstance(value, list) else [value]))


def shard_fault(path: str, facts: Facts) -> pairs.Fault | None:
    """What is wrong with a nanoGPT shard."""
    if "elsewhere" in facts:
        return None
    if "error" in facts:
        return pairs.unreadable(facts)
    inspect = INSPECT.format(path)
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
