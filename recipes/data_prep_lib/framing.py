"""A batch of encoded documents -> the ids that are written: cut, with BOS and EOS, by split. All in numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep_lib.config import SPLITS
from data_prep_lib.engines import Encoded
from data_prep_lib.errors import DataPrepError
from data_prep_lib.vocab import Vocab


@dataclass(frozen=True)
class Frame:
    """What is put around the ids of a document, and its longest length with it."""

    head: int | None
    tail: int | None
    max_tokens: int | None

    @property
    def extra(self) -> int:
        return (self.head is not None) + (self.tail is not None)


@dataclass(frozen=True)
class Framed:
    """`ids` of the documents one after another, `lengths` of each (0: left out), `full`: a budget was reached."""

    ids: npt.NDArray[np.generic]
    lengths: npt.NDArray[np.int64]
    full: bool = False


def frame(encoded: Encoded, how: Frame, vocab: Vocab, left: int | None = None) -> Framed:
    """Frame each document; a document without ids gets nothing. Stops where `left` tokens are reached.

    A document that is cut keeps its EOS: it still is the border to the next one.
    """
    _check_ids(encoded, vocab)
    body = np.diff(encoded.offsets)
    if how.max_tokens is not None:
        np.minimum(body, max(0, how.max_tokens - how.extra), out=body)
    full = left is not None and _cut_to_budget(body, how.extra, left)
    lengths = np.where(body > 0, body + how.extra, 0)
    ends = np.cumsum(lengths[lengths > 0])
    out = np.empty(ends[-1] if len(ends) else 0, np.dtype(vocab.dtype).newbyteorder("<"))
    of_text = np.ones(len(out), np.bool_)
    for at, token in ((ends - lengths[lengths > 0], how.head), (ends - 1, how.tail)):
        if token is not None:
            out[at], of_text[at] = token, False
    out[of_text] = _bodies(encoded, body)
    return Framed(out, lengths, full)


def frame_parts(
    parts: Iterable[Encoded], how: Frame, vocab: Vocab, left: int | None = None
) -> Iterator[npt.NDArray[np.generic]]:
    """The ids of one document whose text comes in parts, as `frame` makes them: nothing where there are none."""
    limits = [limit for limit in (how.max_tokens, left) if limit is not None]
    room = max(0, min(limits) - how.extra) if limits else None
    dtype, begun = np.dtype(vocab.dtype).newbyteorder("<"), False
    for encoded in parts:
        _check_ids(encoded, vocab)
        ids = encoded.ids[:room]
        room = None if room is None else room - len(ids)
        if len(ids) and not begun and how.head is not None:
            yield np.array([how.head], dtype)
        begun = begun or len(ids) > 0
        yield ids.astype(dtype)
        if room == 0:
            break
    if begun and how.tail is not None:
        yield np.array([how.tail], dtype)


def _check_ids(encoded: Encoded, vocab: Vocab) -> None:
    if len(encoded.ids) and int(encoded.ids.max()) >= vocab.size:  # it would wrap around in uint16, in silence
        raise DataPrepError(f"the engine made an id beyond the vocabulary of {vocab.size}\n  set engine: tokenizers")


def _cut_to_budget(body: npt.NDArray[np.int64], extra: int, left: int) -> bool:
    """Shorten `body` in place to `left` tokens with their frames: the document that reaches it is the last one."""
    ends = np.cumsum(np.where(body > 0, body + extra, 0))
    last = int(np.searchsorted(ends, left))
    if last == len(body):
        return False
    before = int(ends[last - 1]) if last else 0
    body[last] = min(int(body[last]), max(0, left - before - extra))
    body[last + 1 :] = 0
    return True


def _bodies(encoded: Encoded, body: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The ids without those that were cut off."""
    if int(body.sum()) == len(encoded.ids):
        return encoded.ids
    starts = encoded.offsets[:-1]
    return np.concatenate([encoded.ids[a : a + n] for a, n in zip(starts.tolist(), body.tolist(), strict=True)])


def splits_of(texts: Sequence[str | bytes], splits: Mapping[str, float]) -> npt.NDArray[np.int8]:
    """The split of each document, an index into SPLITS, by its text alone.

    Other data never moves a document, and every machine agrees: the first 8 bytes of its BLAKE2b as a share of 1.
    Where all of them go to one split nothing is hashed, which would be an eighth of the work.
    """
    only = [split for split in SPLITS if splits[split] == 1]
    if only:
        return np.full(len(texts), SPLITS.index(only[0]), np.int8)
    encoded = (text.encode("utf-8") if isinstance(text, str) else text for text in texts)
    digests = b"".join([hashlib.blake2b(data, digest_size=8).digest() for data in encoded])
    at = np.frombuffer(digests, ">u8").astype(np.float64) / 2**64
    train, valid, test = (SPLITS.index(split) for split in ("train", "valid", "test"))
    chosen = np.where(at < splits["test"], test, np.where(at < splits["test"] + splits["valid"], valid, train))
    return chosen.astype(np.int8)


def sizes_of(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Bytes of each text in UTF-8, without a copy of those that are ASCII."""
    sizes = (len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts)
    return np.fromiter(sizes, np.int64, len(texts))


def by_split(
    framed: Framed, splits: npt.NDArray[np.int8], sizes: npt.NDArray[np.int64]
) -> Iterator[tuple[str, list[npt.NDArray[Any]], npt.NDArray[np.int32], int]]:
    """(split, runs of its ids, lengths of its documents, bytes of their text), for splits that have documents.

    `splits` and `sizes` are those of the documents that `framed` did not leave out.
    """
    lengths = framed.lengths[framed.lengths > 0]
    ends = np.cumsum(lengths)
    borders = np.flatnonzero(np.diff(splits)) + 1  # where a run of documents of one split ends and another begins
    first = np.concatenate([[0], borders]) if len(lengths) else borders
    cuts = np.append(ends[first] - lengths[first], len(framed.ids)).tolist()
    runs = [framed.ids[a:b] for a, b in pairwise(cuts)]
    for i, split in enumerate(SPLITS):
        mine = splits == i
        if mine.any():
            chosen = [run for run, of in zip(runs, splits[first], strict=True) if of == i]
            yield split, chosen, lengths[mine].astype(np.int32), int(sizes[mine].sum())
