"""`look`: what is wrong with a configuration and its data, and how much there is to do, before anything is done.

For the launcher's dry run, which cannot import this: one JSON document on stdout,

    findings  [{level, code, message, fix}]   level: error, warning or note
    sources   [{name, files, bytes, documents, tokens, weight, epochs}]   counts estimated from a sample, else null
    total     {files, bytes, documents, tokens, shards, output_bytes, core_seconds}
    output    the directory that the output will lie in; null where what it depends on is not here

Nothing is written and no hub is asked: what is there only is not looked at. Object stores and web servers are, where
credentials are at hand, and for a short time each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_prep_lib import latest, stores
from data_prep_lib.config import Config, Dataset, load_config
from data_prep_lib.errors import ConfigError, DataPrepError, InputError
from data_prep_lib.findings import Finding, finding, of_config, of_error
from data_prep_lib.inputs import Source, find_source
from data_prep_lib.remote import SCHEME
from data_prep_lib.shards import Shard, plan_shards
from data_prep_lib.store_errors import NotAtHandError
from data_prep_lib.vocab import TokenizerFiles, find_tokenizer

# Repeating data is worth about as much as new data up to some 4 epochs, and next to nothing from some 16 on
# (Muennighoff et al., Scaling Data-Constrained Language Models, 2023).
MANY_EPOCHS = 16
_NOT_THE_HUB = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def main(path: Path, files: bool) -> int:
    """`files`: paths mean here what they do in the job; else of the data only those in stores are looked at."""
    os.environ.update(_NOT_THE_HUB)
    stores.hurry()
    print(json.dumps(look(path, files)))
    return 0


def look(path: Path, files: bool) -> dict[str, Any]:
    try:
        config = load_config(path)
    except DataPrepError as e:
        return {"findings": [of_config("data-prep", e, files)], "sources": [], "total": None, "output": None}
    findings: list[Finding] = []
    if not files:
        inside = [d for d in config.datasets if stores.is_address(d.path) and "${" not in d.path]
        sources = list(_sources(inside, findings))
        rows, total = _measured(config, sources, None, findings)
        return {"findings": findings, "sources": rows, "total": total, "output": None}
    try:
        if config.publishes:
            latest.check(config.output_dir)
    except DataPrepError as e:
        findings.append(of_error("data-prep-config", e))
    if config.upload:
        findings += _upload(config.upload)
    tokenizer = _tokenizer(config, findings)
    sources = list(_sources(config.datasets, findings))
    rows, total = _measured(config, sources, tokenizer, findings)
    output = _output(config, sources, tokenizer)
    return {"findings": findings, "sources": rows, "total": total, "output": output}


def _upload(address: str) -> Iterator[Finding]:
    """Nothing is written: whether that is allowed the job finds out before its work."""
    place, key = stores.parts(address)
    try:
        stores.listed(place, f"{key}/.data-prep".lstrip("/"))
    except NotAtHandError as e:
        yield of_error("data-prep-not-looked-at", e, e.level)
    except DataPrepError as e:
        yield of_error("data-prep-upload", e)


def _output(config: Config, sources: Sequence[Source], tokenizer: TokenizerFiles | None) -> str | None:
    """None where not all of it was found, and of a config whose mistakes are told by others."""
    from data_prep_lib import job

    if tokenizer is None or len(sources) < len(config.datasets):
        return None
    try:
        return str(job.output_of(job.planned(config, sources, tokenizer)))
    except (DataPrepError, OSError):
        return None


def _sources(datasets: Sequence[Dataset], findings: list[Finding]) -> Iterator[Source]:
    """Side by side: a store that is slow to answer takes none of the others' time."""
    with ThreadPoolExecutor(max(1, len(datasets))) as pool:
        for source, found in pool.map(_source, datasets):
            findings += found
            if source is not None:
                yield source


def _source(dataset: Dataset) -> tuple[Source | None, list[Finding]]:
    if dataset.path.startswith(SCHEME):
        text = f"dataset {dataset.name!r}: {dataset.path} is not looked at before the job"
        return None, [finding("note", "data-prep-not-looked-at", text)]
    try:
        source = find_source(dataset, Path(os.devnull))
    except NotAtHandError as e:
        return None, [of_error("data-prep-not-looked-at", e, e.level)]
    except DataPrepError as e:
        return None, [of_error("data-prep-input", e)]
    return source, [finding("note", "data-prep-left-out", note) for note in source.notes]


def _tokenizer(config: Config, findings: list[Finding]) -> TokenizerFiles | None:
    try:
        return find_tokenizer(config.tokenizer, config.eos_token, config.bos_token)
    except (ConfigError, InputError) as e:
        if "hub" in str(e).partition("\n")[0]:
            text = f"tokenizer {config.tokenizer}: not in the hub's cache of this machine, so not looked at"
            findings.append(finding("note", "data-prep-not-looked-at", text))
        else:
            findings.append(of_error("data-prep-tokenizer", e))
        return None


def _measured(
    config: Config, sources: list[Source], tokenizer: TokenizerFiles | None, findings: list[Finding]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Rows of the table and their sum; without the libraries, or a tokenizer, sizes only."""
    shards = {s.dataset.name: plan_shards(s, 1 if config.sample else config.num_shards) for s in sources}
    estimates: dict[str, Any] = {}
    vocab = None
    try:
        from data_prep_lib import estimate

        estimates, vocab = estimate.of_sources(config, sources, shards, tokenizer, findings)
    except ImportError as e:
        text = f"tokens are not counted before the job: {e.name} is not installed here"
        findings.append(finding("note", "data-prep-not-looked-at", text))
    rows = [_row(source, estimates.get(source.dataset.name)) for source in sources]
    complete = len(sources) == len(config.datasets)
    if rows and all(row["tokens"] for row in rows) and complete:
        findings += _epochs(rows)
    return rows, _total(config, rows, shards, estimates, vocab) if rows else None


def _row(source: Source, found: Any) -> dict[str, Any]:
    return {
        "name": source.dataset.name,
        "files": len(source.files),
        "bytes": source.size,
        "documents": found and round(found.documents),
        "tokens": found and round(found.tokens),
        "weight": source.dataset.weight,
        "epochs": None,
    }


def _epochs(rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """How often each source is read while the run reads as many tokens as all have together."""
    tokens, weights = sum(row["tokens"] for row in rows), sum(row["weight"] for row in rows)
    for row in rows:
        row["epochs"] = row["weight"] / weights * tokens / row["tokens"]
        if row["epochs"] >= MANY_EPOCHS:
            text = f"dataset {row['name']!r}: with weight {row['weight']:g} its {row['tokens']:,} tokens are read "
            text += f"{row['epochs']:.0f} times while the run reads as many tokens as there are in all"
            yield finding("warning", "data-prep-epochs", text, "give it a lower weight, or more data")


def _total(
    config: Config, rows: list[dict[str, Any]], shards: dict[str, list[Shard]], estimates: dict[str, Any], vocab: Any
) -> dict[str, Any]:
    total: dict[str, Any] = {key: sum(row[key] for row in rows) for key in ("files", "bytes")}
    total["shards"] = sum(map(len, shards.values()))
    known = vocab is not None and all(row["tokens"] is not None for row in rows)
    tokens = sum(row["tokens"] for row in rows) if known else None
    if tokens is not None and config.max_tokens is not None:
        tokens = min(tokens, config.max_tokens)
    total["tokens"] = tokens
    total["documents"] = sum(row["documents"] for row in rows) if known else None
    total["output_bytes"] = total["core_seconds"] = None
    if tokens is not None:
        copies = 2 if config.format == "nanogpt" else 1
        total["output_bytes"] = tokens * (2 if vocab.dtype == "uint16" else 4) * copies + 20 * total["documents"]
        seconds = sum(estimates[row["name"]].seconds_a_token * row["tokens"] for row in rows)
        total["core_seconds"] = seconds * tokens / max(1, sum(row["tokens"] for row in rows))
    return total
