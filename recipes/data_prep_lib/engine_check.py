"""Which engine encodes: the fastest whose ids are those of `tokenizers`, tried before any work is done.

Compared are a sample of the very corpus and the strings of adversarial.py, with this tokenizer. One difference is
enough to refuse an engine. The choice changes no byte of the output, so it is not part of the output's identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from data_prep_lib import engines
from data_prep_lib.adversarial import strings
from data_prep_lib.batches import batches
from data_prep_lib.engines import FAST, REFERENCE, Encode, Encoded
from data_prep_lib.errors import RefusedError
from data_prep_lib.readers import ShardReader
from data_prep_lib.shards import Shard
from data_prep_lib.vocab import load_tokenizer

# A part of the input, in characters, within bounds: tokenizers takes a second for 1 to 3 million on one core.
_SHARE, _LEAST, _MOST = 400, 1 << 18, 1 << 23
_SHARDS = 16  # sampled, spread over all
_CHARS_EACH = 1 << 16  # of one document: a few large ones must not be all of the sample
_SHOWN = 60  # characters of a text that differs


@dataclass(frozen=True)
class Choice:
    """What record.json says of the engine; `passed_over` has the reason by engine."""

    engine: str
    version: str | None
    documents: int = 0
    characters: int = 0
    strings: int = 0
    differences: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.engine == REFERENCE:
            why = "; ".join(f"{engine}: {reason}" for engine, reason in self.passed_over.items())
            return f"{REFERENCE} {self.version}" + (f" ({why})" if why else "")
        return (
            f"{self.engine} {self.version}, {self.differences} differences from {REFERENCE}"
            f" in {self.documents} documents and {self.strings} strings"
        )


def choose(wanted: str, tokenizer_path: str, shards: Sequence[Shard], rows: int | None = None) -> Choice:
    """`wanted` is auto or the name of an engine; a named one that is not installed or not right is refused.

    `rows`: the run takes no more than these of each shard, so the sample does not either.
    """
    if wanted == REFERENCE:
        return Choice(REFERENCE, engines.installed_version(REFERENCE))
    passed_over: dict[str, str] = {}
    tried = FAST if wanted == "auto" else (wanted,)
    present = [name for name in tried if engines.installed_version(name)]
    passed_over |= {name: "not installed" for name in tried if name not in present}
    if present:
        trial = _Trial(tokenizer_path, sample(shards, rows))
        for name in present:
            reason = trial.differs(name)
            if not reason:
                return Choice(name, engines.installed_version(name), *trial.compared, 0, passed_over)
            passed_over[name] = reason
    if wanted != "auto":
        raise RefusedError(
            f"engine: {wanted} cannot be used here: {passed_over[wanted]}\n"
            f"  install it if it is missing, or set engine: auto, which takes {REFERENCE} where no faster one is right"
        )
    return Choice(REFERENCE, engines.installed_version(REFERENCE), passed_over=passed_over)


def candidates(wanted: str) -> list[str]:
    """The engines that may be chosen, in the order in which they are tried."""
    names = (*FAST, REFERENCE) if wanted == "auto" else (wanted,)
    return [name for name in names if engines.installed_version(name)]


class _Trial:
    """The texts to compare and tokenizers' ids for them."""

    def __init__(self, tokenizer_path: str, documents: Iterable[str]) -> None:
        self._path = tokenizer_path
        documents = list(documents)
        tokenizer = load_tokenizer(tokenizer_path)
        extra = strings(tokenizer)
        self._texts = documents + extra
        encode = engines.of_tokenizer(tokenizer)
        self._right = [encode(batch) for batch in batches(self._texts)]
        self.compared = (len(documents), sum(map(len, documents)), len(extra))

    def differs(self, engine: str) -> str:
        """What is wrong with the engine, "" if nothing."""
        try:
            encode = engines.load(engine, self._path)
            # twice: the second time its caches are warm
            found = self._differences(encode) or self._differences(encode)
        # The package decides what it raises, down to pyo3's PanicException, which is no Exception.
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:
            if not (isinstance(e, Exception) or type(e).__name__ == "PanicException"):
                raise
            return f"fails with {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
        if not found:
            return ""
        text = found[0]
        shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
        return f"{len(found)} of {len(self._texts)} texts have other ids, the first: {shown}"

    def _differences(self, encode: Encode) -> list[str]:
        """The texts for which `encode` gives other ids."""
        pairs = zip(batches(self._texts), self._right, strict=True)
        return [text for texts, right in pairs for text in _differing(texts, right, encode(texts))]


def _differing(texts: Sequence[str], right: Encoded, found: Encoded) -> list[str]:
    if np.array_equal(found.offsets, right.offsets) and np.array_equal(found.ids, right.ids):
        return []
    return [text for i, text in enumerate(texts) if not np.array_equal(found[i], right[i])]


def sample(shards: Sequence[Shard], rows: int | None = None) -> Iterator[str]:
    """The first documents of shards that are spread over all of them, bad rows left out."""
    wanted = min(_MOST, max(_LEAST, sum(shard.size for shard in shards) // _SHARE))
    step = -(-len(shards) // _SHARDS)
    chosen = shards[::step]
    for shard in chosen:
        chars = 0
        for text in islice(ShardReader(shard, "skip").documents(), rows):
            part = text[:_CHARS_EACH] if isinstance(text, str) else text.beginning(_CHARS_EACH)
            del text  # a huge one is not held while the next is read
            yield part
            chars += len(part)
            if chars >= wanted // len(chosen):
                break
