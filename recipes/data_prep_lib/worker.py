"""One shard, in a worker process: read, encode, split, write. Nothing but counts goes back to the main process."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

from data_prep_lib import receipts
from data_prep_lib.config import SPLITS
from data_prep_lib.layout import Layout
from data_prep_lib.megatron import PairWriter, pair
from data_prep_lib.readers import ShardReader
from data_prep_lib.safe_files import disk_error
from data_prep_lib.shards import Shard
from data_prep_lib.vocab import Vocab, load_tokenizer

# One call of encode_batch_fast: large enough to hide its overhead, small enough that memory stays flat.
_BATCH_CHARS = 1 << 19
_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class Settings:
    """What every worker needs to know, sent once."""

    layout: Layout
    tokenizer_path: str
    vocab: Vocab
    splits: Mapping[str, float]
    add_bos: bool
    add_eos: bool
    sample: int | None
    max_doc_tokens: int | None
    min_doc_chars: int
    on_error: str


class Stopped(Exception):
    """The main process asked the workers to end."""


_state: dict[str, Any] = {}


def start(settings: Settings, counters: SynchronizedArray[int]) -> None:
    """Initializer of a worker process. `counters`: documents, tokens, text bytes, input bytes, stop."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process a core; more threads would only wait for each other
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _state.update(settings=settings, counters=counters, tokenizer=load_tokenizer(settings.tokenizer_path))


def _die_with_parent() -> None:
    """A worker whose parent was killed with SIGKILL would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def split_of(text: bytes, splits: Mapping[str, float]) -> str:
    """The split of a document, by its text alone: other data never moves it, and every machine agrees."""
    at = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
    if at < splits["test"]:
        return "test"
    return "valid" if at < splits["test"] + splits["valid"] else "train"


def build(shard: Shard, made_by: str) -> None:
    """Write a shard's files and its receipt."""
    settings: Settings = _state["settings"]
    try:
        _build(shard, made_by, settings)
    except OSError as e:
        raise disk_error(e, settings.layout.root) from None


def _build(shard: Shard, made_by: str, settings: Settings) -> None:
    reader = ShardReader(shard, settings.on_error)
    texts = (text for text in islice(reader, settings.sample))
    meter, num_short = _Meter(_state["counters"]), 0
    with ExitStack() as stack:
        prefixes = {split: settings.layout.prefix(split, shard) for split in SPLITS}
        writers = {s: stack.enter_context(PairWriter(prefixes[s], settings.vocab.dtype)) for s in SPLITS}
        for batch in _batches(texts):
            kept = [text for text in batch if len(text) >= settings.min_doc_chars]
            num_short += len(batch) - len(kept)
            left = None if shard.max_tokens is None else shard.max_tokens - sum(w.tokens for w in writers.values())
            full = _write(kept, writers, settings, left)
            meter.update(writers.values(), reader.consumed)
            if full:
                break
    counts = {s: {"documents": w.documents, "tokens": w.tokens, "bytes": w.bytes} for s, w in writers.items()}
    files = [path for s, prefix in prefixes.items() if writers[s].documents for path in pair(prefix)]
    facts = {"counts": counts, "short": num_short, "skipped": reader.num_skipped, "skipped_rows": reader.skipped}
    receipts.write(settings.layout, shard.name, made_by, files, **facts)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _write(texts: list[str], writers: Mapping[str, PairWriter], settings: Settings, left: int | None) -> bool:
    """Write a batch, at most `left` tokens of it: the last document is cut. Whether that is reached."""
    full = False
    documents: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    sizes = dict.fromkeys(SPLITS, 0)
    encodings = _state["tokenizer"].encode_batch_fast(texts, add_special_tokens=False)
    for text, encoding in zip(texts, encodings, strict=True):
        ids = _framed(encoding.ids, settings)
        if left is not None:
            if full := len(ids) >= left:
                ids = _framed(encoding.ids, settings, left)
            left -= len(ids)
        if ids:
            data = text.encode("utf-8")
            split = split_of(data, settings.splits)
            documents[split].append(ids)
            sizes[split] += len(data)
        if full:
            break
    for split, writer in writers.items():
        writer.add(documents[split], sizes[split])
    return full


def _framed(ids: list[int], settings: Settings, limit: int | None = None) -> list[int]:
    """With BOS and EOS. A document that is cut keeps its EOS: it still is the border to the next one."""
    head = [settings.vocab.bos_id] if settings.add_bos and settings.vocab.bos_id is not None else []
    tail = [settings.vocab.eos_id] if settings.add_eos and settings.vocab.eos_id is not None else []
    limit = settings.max_doc_tokens if limit is None else limit
    if limit is not None:
        ids = ids[: max(0, limit - len(head) - len(tail))]
    return head + ids + tail if ids else []


class _Meter:
    """Adds one shard's progress to the counters that the main process shows, and hears from it when to stop."""

    def __init__(self, counters: SynchronizedArray[int]) -> None:
        self._counters = counters
        self._last = [0, 0, 0, 0]

    def update(self, writers: Iterable[PairWriter], consumed: float) -> None:
        done = [(w.documents, w.tokens, w.bytes) for w in writers]
        now = [*(sum(column) for column in zip(*done, strict=True)), int(consumed)]
        with self._counters.get_lock():
            for i, (new, old) in enumerate(zip(now, self._last, strict=True)):
                self._counters[i] += new - old
            stop = self._counters[len(now)]
        self._last = now
        if stop:
            raise Stopped
