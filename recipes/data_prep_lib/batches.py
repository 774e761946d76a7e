"""Documents in batches: how many of them are in memory at once, whatever the size of the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from data_prep_lib.huge import Huge

# One call of an engine: large enough to hide its overhead, small enough that memory stays flat.
MAX_CHARS = 1 << 19
MAX_DOCUMENTS = 1024


def with_huge(texts: Iterable[str | Huge]) -> Iterator[list[str] | Huge]:
    """Batches as below, and huge documents between them, in their order."""
    kept: list[Huge] = []

    def until_huge(given: Iterator[str | Huge]) -> Iterator[str]:
        for text in given:
            if isinstance(text, Huge):
                kept.append(text)
                return
            yield text
            del text

    given = iter(texts)
    while True:
        yield from batches(until_huge(given))
        if not kept:
            return
        yield kept.pop()


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """At most MAX_DOCUMENTS documents, and MAX_CHARS characters but for the last document of a batch.

    None is held here when the next one is read; who iterates lets go of a batch, too, before the next.
    """
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        del text  # else the last one would still be here while the next is read
        if chars >= MAX_CHARS or len(batch) >= MAX_DOCUMENTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch
