"""How many documents and tokens a source holds, and how long they take, from a sample that the engine encodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from data_prep_lib import engines, preflight
from data_prep_lib.batches import batches
from data_prep_lib.config import Config
from data_prep_lib.errors import DataPrepError
from data_prep_lib.findings import Finding, finding, of_error
from data_prep_lib.inputs import Source
from data_prep_lib.readers import ShardReader
from data_prep_lib.separator import finding as separator
from data_prep_lib.shards import Shard
from data_prep_lib.specials import Specials
from data_prep_lib.store_errors import NotAtHandError
from data_prep_lib.vocab import TokenizerFiles, Vocab, read_vocab

_SHARDS = 4  # sampled, spread over all
_READ = 1 << 21  # characters that are read of a shard: of a compressed file a megabyte is read ahead
_ENCODED = 1 << 16  # of which so many are encoded
# Reading, hashing, writing: the bare engine's share of the time of all, on the benchmark's corpus.
_ENGINES_SHARE = 0.6


@dataclass(frozen=True)
class Estimate:
    """Of a complete source; `seconds_a_token` of one core."""

    documents: float
    tokens: float
    seconds_a_token: float


@dataclass
class _Seen:
    """What was read of a source: `sample` has the documents' beginnings that are encoded."""

    documents: int = 0
    kept: int = 0  # documents that are neither blank nor too short
    characters: int = 0
    consumed: float = 0.0
    sample: list[str] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)


def of_sources(
    config: Config,
    sources: Sequence[Source],
    shards: Mapping[str, Sequence[Shard]],
    files: TokenizerFiles | None,
    findings: list[Finding],
) -> tuple[dict[str, Estimate], Vocab | None]:
    """By the dataset's name, as far as rows can be read; adds findings about rows, the disk and special tokens."""
    vocab, encode = None, None
    engines.one_thread()
    if files is not None:
        try:
            vocab, encode = read_vocab(files, config.add_bos, config.add_eos), _engine(files.path)
            findings += separator(config, files, vocab)
        except DataPrepError as e:
            findings.append(of_error("data-prep-tokenizer", e))
    estimates: dict[str, Estimate] = {}
    specials = Specials(vocab.specials if vocab else {}, None)
    with ThreadPoolExecutor(max(1, len(sources))) as pool:  # stores answer side by side
        read = pool.map(lambda source: _seen(config, source, shards[source.dataset.name]), sources)
        everything = list(zip(sources, read, strict=True))
        findings += _left_out(config, everything)
        for source, seen in everything:
            findings += seen.found
            if encode is not None and not seen.found:
                estimates[source.dataset.name] = _estimate(config, source, seen, encode, specials)
    if vocab is not None:
        findings += _disk(config, shards, vocab)
        findings += _specials(config, specials)
    return estimates, vocab


def _left_out(config: Config, everything: Sequence[tuple[Source, _Seen]]) -> Iterator[Finding]:
    """Sources of whose sample nothing would be kept; where nothing of all is, the job ends without an output."""
    whole = all(seen.documents and not seen.kept and seen.consumed >= source.size for source, seen in everything)
    for source, seen in everything:
        if seen.documents and not seen.kept:
            what = f"all {seen.documents} documents of the sample are blank or shorter than min_doc_chars"
            text = f"dataset {source.dataset.name!r}: {what}, {config.min_doc_chars}"
            fix = "a lower min_doc_chars, or data with text in this field"
            yield finding("error" if whole else "warning", "data-prep-rows", text, fix)


def _engine(path: str) -> engines.Encode:
    """The fastest that is here: a different id would change an estimate by nothing."""
    for name in engines.FAST:
        if engines.installed_version(name):
            try:
                return engines.load(name, path)
            except Exception:  # a tokenizer that it does not know; the job finds that out by itself
                continue
    return engines.load(engines.REFERENCE, path)


def _seen(config: Config, source: Source, shards: Sequence[Shard]) -> _Seen:
    seen = _Seen()
    try:
        preflight.check_rows(source, config.on_error)
        for shard in shards[:: -(-len(shards) // _SHARDS)]:
            bad = _read_some(shard, config, seen)
            if bad and config.on_error == "fail":
                text = f"{bad[0]}: the job would end there"
                seen.found.append(finding("error", "data-prep-rows", text, "mend it; on_error: skip leaves rows out"))
                break
    except NotAtHandError as e:
        seen.found.append(of_error("data-prep-not-looked-at", e, e.level))
    except DataPrepError as e:
        seen.found.append(of_error("data-prep-rows", e))
    return seen


def _read_some(shard: Shard, config: Config, seen: _Seen) -> list[str]:
    """Count a sample of a shard; the rows of it that are none, as FILE:LINE: what."""
    reader, characters, sampled = ShardReader(shard, "skip"), 0, 0
    for text in islice(reader, config.sample):
        if sampled < _ENCODED:
            seen.sample.append(text[:_ENCODED])
            sampled += len(seen.sample[-1])
        seen.documents += 1
        seen.kept += len(text) >= config.min_doc_chars and not (config.drop_blank and text.isspace())
        seen.characters += len(text)
        characters += len(text)
        if characters >= _READ:
            break
    seen.consumed += reader.consumed
    return reader.skipped


def _estimate(config: Config, source: Source, seen: _Seen, encode: engines.Encode, specials: Specials) -> Estimate:
    encoded, tokens, seconds = sum(map(len, seen.sample)), 0, 0.0
    for batch in batches(seen.sample):
        started = time.process_time()
        made = encode(batch)
        seconds += time.process_time() - started
        tokens += len(made.ids)
        specials.applied(batch, made)
    if not encoded or not seen.consumed:
        return Estimate(0, 0, 0)
    scale = source.size / seen.consumed
    if config.sample:
        scale = min(scale, config.sample / max(1, seen.documents))
    documents = seen.documents * scale
    extra = config.add_bos + config.add_eos
    whole = tokens / encoded * seen.characters * scale + extra * documents
    return Estimate(documents, whole, seconds / max(1, tokens) / _ENGINES_SHARE)


def _disk(config: Config, shards: Mapping[str, Sequence[Shard]], vocab: Vocab) -> Iterator[Finding]:
    copies = 2 if config.format == "nanogpt" else 1
    every = [shard for of_dataset in shards.values() for shard in of_dataset]
    try:
        preflight.check_disk(config.output_dir, every, vocab.dtype, config.sample, copies)
    except DataPrepError as e:
        yield of_error("data-prep-disk", e)


def _specials(config: Config, specials: Specials) -> Iterator[Finding]:
    if specials.found and not config.split_special_tokens:
        named = ", ".join(f"{token!r} ({count})" for token, count in sorted(specials.found.items()))
        documents = f"{specials.documents} document{'' if specials.documents == 1 else 's'}"
        text = f"special tokens stand in {documents} of the sample and get their ids: {named}"
        yield finding("warning", "data-prep-specials", text, "split_special_tokens=true encodes them as text")
