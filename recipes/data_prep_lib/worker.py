"""One shard, in a worker process: read, encode, split, write. Nothing but counts goes back to the main process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

from data_prep_lib import engines, hashes, receipts
from data_prep_lib.batches import with_huge
from data_prep_lib.claims import touch
from data_prep_lib.config import SPLITS
from data_prep_lib.framing import Frame, by_split, frame, frame_parts, sizes_of, splits_of
from data_prep_lib.huge import Huge, is_cut
from data_prep_lib.layout import Layout, pair
from data_prep_lib.megatron import PairWriter
from data_prep_lib.readers import ShardReader
from data_prep_lib.safe_files import disk_error
from data_prep_lib.shards import Shard
from data_prep_lib.specials import Specials
from data_prep_lib.vocab import Vocab

_TELL_S = 15.0  # between two touches of a shard's claim


@dataclass(frozen=True)
class Settings:
    """What every worker needs to know, sent once."""

    layout: Layout
    tokenizer_path: str
    engine: str
    vocab: Vocab
    splits: Mapping[str, float]
    add_bos: bool
    add_eos: bool
    sample: int | None
    max_doc_tokens: int | None
    min_doc_chars: int
    drop_blank: bool
    split_special_tokens: bool
    on_error: str
    hash_inputs: bool = False

    @property
    def frame(self) -> Frame:
        head, tail = self.vocab.bos_id if self.add_bos else None, self.vocab.eos_id if self.add_eos else None
        return Frame(head, tail, self.max_doc_tokens)


class Stopped(Exception):
    """The main process asked the workers to end."""


_state: dict[str, Any] = {}


def start(settings: Settings, counters: SynchronizedArray[int]) -> None:
    """Initializer of a worker process. `counters`: documents, tokens, text bytes, input bytes, stop."""
    engines.one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _state.update(settings=settings, counters=counters, encode=engines.load(settings.engine, settings.tokenizer_path))


def _die_with_parent() -> None:
    """A worker whose parent was killed with SIGKILL would never stop waiting for work."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def build(shard: Shard, made_by: str) -> None:
    """Write a shard's files and its receipt."""
    settings: Settings = _state["settings"]
    try:
        _build(shard, made_by, settings)
    except OSError as e:
        raise disk_error(e, settings.layout.root) from None


def _build(shard: Shard, made_by: str, settings: Settings) -> None:
    reader = ShardReader(shard, settings.on_error)
    whole = not is_cut(settings.tokenizer_path)
    texts: Iterator[str | Huge] = islice(reader if whole else reader.documents(), settings.sample)
    meter, left_out = _Meter(_state["counters"], settings.layout.claims, shard.name), {"blank": 0, "short": 0}
    specials = Specials(settings.vocab.specials, settings.tokenizer_path if settings.split_special_tokens else None)
    with ExitStack() as stack:
        prefixes = {split: settings.layout.prefix(split, shard) for split in SPLITS}
        writers = {s: stack.enter_context(PairWriter(prefixes[s], settings.vocab.dtype)) for s in SPLITS}
        for batch in with_huge(texts):
            left = None if shard.max_tokens is None else shard.max_tokens - sum(w.tokens for w in writers.values())
            if isinstance(batch, Huge):
                full = not _is_left_out(batch, settings, left_out) and _write_huge(
                    batch, writers, settings, left, specials
                )
                del batch
            else:
                kept = _kept(batch, settings, left_out)
                del batch
                full = _write(kept, writers, settings, left, specials)
                del kept
            meter.update(writers.values(), reader.consumed)
            if full:
                break
        reader.check_unchanged()  # inside: what was made of another file gets no name
    facts: dict[str, Any] = {
        "counts": {s: {"documents": w.documents, "tokens": w.tokens, "bytes": w.bytes} for s, w in writers.items()},
        **left_out,
        "skipped": reader.num_skipped,
        "skipped_rows": reader.skipped,
        "lost": reader.lost,
        "special_tokens": dict(specials.found),
        "special_documents": specials.documents,
    }
    if settings.hash_inputs:
        facts["inputs"] = hashes.of_ranges(shard.ranges)
        reader.check_all_unchanged()  # else the hashes are not those of what was read
    files = [path for s, prefix in prefixes.items() if writers[s].documents for path in pair(prefix)]
    receipts.write(settings.layout, shard.name, made_by, files, **facts)


def _kept(batch: list[str], settings: Settings, left_out: dict[str, int]) -> list[str]:
    """The documents that are not left out; counts the others."""
    texts = batch
    if settings.drop_blank:
        texts = [text for text in batch if text and not text.isspace()]
        left_out["blank"] += len(batch) - len(texts)
    kept = [text for text in texts if len(text) >= settings.min_doc_chars]
    left_out["short"] += len(texts) - len(kept)
    return kept


def _write(
    texts: list[str], writers: Mapping[str, PairWriter], settings: Settings, left: int | None, specials: Specials
) -> bool:
    """Write a batch, at most `left` tokens of it: the last document is cut. Whether that is reached."""
    encoded = specials.applied(texts, _state["encode"](texts))
    framed = frame(encoded, settings.frame, settings.vocab, left)
    kept = [text for text, length in zip(texts, framed.lengths.tolist(), strict=True) if length]
    for split, runs, lengths, size in by_split(framed, splits_of(kept, settings.splits), sizes_of(kept)):
        writers[split].add(runs, lengths, size)
    return framed.full


def _is_left_out(document: Huge, settings: Settings, left_out: dict[str, int]) -> bool:
    """The same for one that is never a string as a whole."""
    if settings.drop_blank and all(part.isspace() for part in document.parts()):
        left_out["blank"] += 1
        return True
    # four bytes are a character at most
    short = settings.min_doc_chars > len(document.data) // 4
    short = short and sum(map(len, document.parts())) < settings.min_doc_chars
    left_out["short"] += short
    return short


def _write_huge(
    document: Huge, writers: Mapping[str, PairWriter], settings: Settings, left: int | None, specials: Specials
) -> bool:
    """Write a document part by part, at most `left` tokens of it. Whether that is reached."""
    split = SPLITS[int(splits_of([document.data], settings.splits)[0])]
    before = specials.documents
    encoded = (specials.applied([part], _state["encode"]([part])) for part in document.parts())
    ids = frame_parts(encoded, settings.frame, settings.vocab, left)
    tokens = writers[split].add_one(ids, len(document.data))
    specials.documents = min(specials.documents, before + 1)
    return left is not None and (tokens >= left or left <= settings.frame.extra)


class _Meter:
    """Adds one shard's progress to the counters that the main process shows, and hears from it when to stop. Other
    nodes see it by the shard's claim, where there are any."""

    def __init__(self, counters: SynchronizedArray[int], claims: Path, name: str) -> None:
        self._counters = counters
        self._claims, self._name, self._told = claims, name, 0.0
        self._last = [0, 0, 0, 0]

    def update(self, writers: Iterable[PairWriter], consumed: float) -> None:
        done = [(w.documents, w.tokens, w.bytes) for w in writers]
        now = [*(sum(column) for column in zip(*done, strict=True)), int(consumed)]
        with self._counters.get_lock():
            for i, (new, old) in enumerate(zip(now, self._last, strict=True)):
                self._counters[i] += new - old
            stop = self._counters[len(now)]
        self._last = now
        if time.monotonic() - self._told > _TELL_S:
            self._told = time.monotonic()
            touch(self._claims, self._name)
        if stop:
            raise Stopped
