"""How many documents and tokens a source holds, and how long they take, from a sample that the engine encodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from data_prep_lib import engines, preflight
from data_prep_lib.batches import batches
from data_prep_lib.config import Config
from data_prep_lib.errors import DataPrepError
from data_prep_lib.inputs import Source
from data_prep_lib.readers import ShardReader
from data_prep_lib.separator import finding as separator
from data_prep_lib.shards import Shard
from data_prep_lib.specials import Specials
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
    """Counts of a sample: `encoded` characters of `characters` were encoded."""

    documents: int = 0
    characters: int = 0
    consumed: float = 0.0
    encoded: int = 0
    encoded_documents: int = 0
    tokens: int = 0
    seconds: float = 0.0


def of_sources(
    config: Config,
    sources: Sequence[Source],
    shards: Mapping[str, Sequence[Shard]],
    files: TokenizerFiles | None,
    findings: list[dict[str, Any]],
) -> tuple[dict[str, Estimate], Vocab | None]:
    """By the dataset's name, as far as rows can be read; adds findings about rows, the disk and special tokens."""
    vocab, encode = None, None
    engines.one_thread()
    if files is not None:
        try:
            vocab, encode = read_vocab(files, config.add_bos, config.add_eos), _engine(files.path)
            findings += separator(config, files, vocab)
        except DataPrepError as e:
            findings.append(_error("data-prep-tokenizer", e))
    estimates: dict[str, Estimate] = {}
    specials = Specials(vocab.specials if vocab else {}, None)
    for source in sources:
        try:
            preflight.check_rows(source, config.on_error)
        except DataPrepError as e:
            findings.append(_error("data-prep-rows", e))
            continue
        if encode is not None:
            name = source.dataset.name
            bad: list[str] = []
            estimates[name] = _estimate(config, source, shards[name], encode, specials, bad)
            if bad and config.on_error == "fail":
                text = f"{bad[0]}: the job would end there"
                findings.append(_finding("error", "data-prep-rows", text, "mend it; on_error: skip leaves rows out"))
    if vocab is not None:
        findings += _disk(config, shards, vocab)
        findings += _specials(config, specials)
    return estimates, vocab


def _engine(path: str) -> engines.Encode:
    """The fastest that is here: a different id would change an estimate by nothing."""
    for name in engines.FAST:
        if engines.installed_version(name):
            try:
                return engines.load(name, path)
            except Exception:  # a tokenizer that it does not know; the job finds that out by itself
                continue
    return engines.load(engines.REFERENCE, path)


def _estimate(
    config: Config,
    source: Source,
    shards: Sequence[Shard],
    encode: engines.Encode,
    specials: Specials,
    bad: list[str],
) -> Estimate:
    """Of a sample; `bad` takes in the rows of it that are none."""
    extra = config.add_bos + config.add_eos
    seen = _Seen()
    for shard in shards[:: -(-len(shards) // _SHARDS)]:
        bad += _see(shard, config, encode, specials, seen)
    if not seen.encoded or not seen.consumed:
        return Estimate(0, 0, 0)
    scale = source.size / seen.consumed
    if config.sample:
        scale = min(scale, config.sample / max(1, seen.documents))
    documents = seen.documents * scale
    tokens = seen.tokens / seen.encoded * seen.characters * scale + extra * documents
    return Estimate(documents, tokens, seen.seconds / max(1, seen.tokens) / _ENGINES_SHARE)


def _see(shard: Shard, config: Config, encode: engines.Encode, specials: Specials, seen: _Seen) -> list[str]:
    """Count a sample of a shard; the rows of it that are none, as FILE:LINE: what."""
    reader, characters = ShardReader(shard, "skip"), 0
    sample: list[str] = []
    for text in islice(_texts(reader, seen), config.sample):
        if sum(map(len, sample)) < _ENCODED:
            sample.append(text[:_ENCODED])
        characters += len(text)
        if characters >= _READ:
            break
    seen.consumed += reader.consumed
    for batch in batches(sample):
        started = time.process_time()
        encoded = encode(batch)
        seen.seconds += time.process_time() - started
        seen.tokens += len(encoded.ids)
        seen.encoded += sum(map(len, batch))
        specials.applied(batch, encoded)
    return reader.skipped


def _texts(reader: ShardReader, seen: _Seen) -> Iterator[str]:
    for text in reader:
        seen.documents += 1
        seen.characters += len(text)
        yield text


def _disk(config: Config, shards: Mapping[str, Sequence[Shard]], vocab: Vocab) -> Iterator[dict[str, Any]]:
    copies = 2 if config.format == "nanogpt" else 1
    every = [shard for of_dataset in shards.values() for shard in of_dataset]
    try:
        preflight.check_disk(config.output_dir, every, vocab.dtype, config.sample, copies)
    except DataPrepError as e:
        yield _error("data-prep-disk", e)


def _specials(config: Config, specials: Specials) -> Iterator[dict[str, Any]]:
    if specials.found and not config.split_special_tokens:
        named = ", ".join(f"{token!r} ({count})" for token, count in sorted(specials.found.items()))
        text = f"special tokens stand in {specials.documents} documents of the sample and get their ids: {named}"
        yield _finding("warning", "data-prep-specials", text, "split_special_tokens=true encodes them as text")


def _error(code: str, e: DataPrepError) -> dict[str, Any]:
    message, _, fix = str(e).partition("\n")
    return _finding("error", code, message, fix.strip())


def _finding(level: str, code: str, message: str, fix: str) -> dict[str, Any]:
    return {"level": level, "code": code, "message": message, "fix": fix or None}
