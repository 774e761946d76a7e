"""Special tokens inside documents: a text that holds `</s>` gets the id that ends a document, as tokenizers has it.

They are counted, and with split_special_tokens (transformers' name for it) such a text is encoded once more, as the
characters that it is made of. Looking for them costs one pass over the lowest and highest ids: in nearly every
vocabulary the special ones stand at an end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from data_prep_lib.engines import Encode, Encoded, of_tokenizer
from data_prep_lib.vocab import load_tokenizer


class Specials:
    """The special tokens of a tokenizer. `found` counts them by name, `documents` the texts that hold some.

    `split_by` is the path of the tokenizer that encodes such texts as text; None leaves the special ids in them.
    """

    def __init__(self, names: Mapping[int, str], split_by: str | None) -> None:
        self.found: Counter[str] = Counter()
        self.documents = 0
        self._names, self._split_by = names, split_by
        self._ids = np.array(sorted(names), np.uint32)
        # of ids from 0 on without a gap the first that is none; the lowest of the others
        self._low = next((i for i, token in enumerate(sorted(names)) if i != token), len(names))
        self._high = int(self._ids[self._low]) if self._low < len(self._ids) else 2**32

    def applied(self, texts: Sequence[str], encoded: Encoded) -> Encoded:
        """What is to be written of the texts; counts what it comes upon."""
        ids = encoded.ids
        if not (len(ids) and len(self._ids) and (int(ids.min()) < self._low or int(ids.max()) >= self._high)):
            return encoded
        at = np.flatnonzero(np.isin(ids, self._ids))
        if not len(at):
            return encoded
        for token, count in zip(*np.unique(ids[at], return_counts=True), strict=True):
            self.found[self._names[int(token)]] += int(count)
        with_some = np.unique(np.searchsorted(encoded.offsets, at, side="right") - 1)
        self.documents += len(with_some)
        return encoded if self._split_by is None else self._again(texts, encoded, with_some)

    def _again(self, texts: Sequence[str], encoded: Encoded, which: npt.NDArray[np.intp]) -> Encoded:
        parts = [encoded[i] for i in range(len(texts))]
        other = _as_text(str(self._split_by))([texts[i] for i in which])
        for n, i in enumerate(which.tolist()):
            parts[i] = other[n]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return Encoded(np.concatenate(parts), offsets)


@lru_cache(maxsize=1)
def _as_text(path: str) -> Encode:
    tokenizer = load_tokenizer(path)
    tokenizer.encode_special_tokens = True
    return of_tokenizer(tokenizer)
