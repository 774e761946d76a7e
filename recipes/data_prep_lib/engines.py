"""Engines that encode texts: `tokenizers` (Hugging Face), and two that are many times faster.

All give the ids in one buffer, so that no id becomes a Python object (tokenizers' own API has nothing but lists; they
live for one document). None truncates, pads or adds special tokens. engine_check.py decides which one is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data_prep_lib.vocab import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# In the order in which `engine: auto` tries them. The fast ones are about as fast as each other; fastokens is first
# because its caches are bounded (gigatoken's grow as long as new words come) and because it needs no other package.
FAST = ("fastokens", "gigatoken")
REFERENCE = "tokenizers"
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Encoded:
    """ids: uint32, of all texts one after another; text i has ids[offsets[i]:offsets[i + 1]], offsets int64."""

    ids: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]

    def __getitem__(self, i: int) -> npt.NDArray[np.uint32]:
        return self.ids[self.offsets[i] : self.offsets[i + 1]]


Encode = Callable[[Sequence[str]], Encoded]
_kept: dict[tuple[str, str], Encode] = {}


def installed_version(engine: str) -> str | None:
    try:
        return version(engine)
    except PackageNotFoundError:
        return None


def one_thread() -> None:
    """To be called in a worker before an engine is loaded: one process a core, more threads would only wait."""
    os.environ |= ONE_THREAD


def load(engine: str, tokenizer_path: str) -> Encode:
    """The engine's encode function. A package may raise anything for a tokenizer that it does not know."""
    return _kept.get((engine, tokenizer_path)) or _LOADERS[engine](tokenizer_path)


def keep(engine: str, tokenizer_path: str) -> None:
    """Load an engine for the processes that are forked from this one (forks.py), which must not encode itself."""
    _kept[engine, tokenizer_path] = load(engine, tokenizer_path)


def of_tokenizer(tokenizer: Tokenizer) -> Encode:
    """The engine `tokenizers`, of a tokenizer that is loaded already."""

    def encode(texts: Sequence[str]) -> Encoded:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        parts = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return Encoded(np.concatenate(parts) if parts else np.empty(0, np.uint32), offsets)

    return encode


def _fastokens(path: str) -> Encode:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(texts: Sequence[str]) -> Encoded:
        ids, offsets = tokenizer.encode_batch_flat(texts, False)
        # little-endian uint32 and uint64, as its documentation says
        return Encoded(np.frombuffer(ids, "<u4"), np.frombuffer(offsets, "<u8").astype(np.int64))

    return encode


def _gigatoken(path: str) -> Encode:
    import gigatoken

    # The Rust class below gigatoken.Tokenizer: it is the one that neither adds special tokens nor truncates.
    tokenizer = gigatoken.Tokenizer(path).backend

    def encode(texts: Sequence[str]) -> Encoded:
        if not texts:
            return Encoded(np.empty(0, np.uint32), np.zeros(1, np.int64))
        layout: Any = tokenizer.encode_batch(texts, parallel=False).layout  # awkward's ListOffsetArray
        return Encoded(layout.content.data, layout.offsets.data)

    return encode


_LOADERS: dict[str, Callable[[str], Encode]] = {
    "fastokens": _fastokens,
    "gigatoken": _gigatoken,
    "tokenizers": lambda path: of_tokenizer(load_tokenizer(path)),
}
