"""The index of Megatron data, short: the first samples of a corpus under the length that the whole one would have.

AutoModel 0.7.0 compiles a helper for it in C++ (megatron_utils.py:96, half a minute, with a lock that outlives a killed
process), shuffles all documents, and writes the result. A rehearsal reads a few samples, so that numpy is enough.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy

from .failure import Fault

_PACKAGE = "nemo_automodel.components.datasets.llm"
_SAMPLES = 64  # that are indexed
_LOOKED_AT = 64  # documents in which the largest id is looked for
_DOCUMENTS = 1 << 20  # of a larger corpus, the tokens are estimated
_BLENDED = 1024  # samples of a blend that are spread over its data sets; those behind stand in blocks


def install() -> None:
    """Have AutoModel's data sets use it."""
    from nemo_automodel.components.datasets.llm.megatron.gpt_dataset import GPTDataset

    GPTDataset._build_document_sample_shuffle_indices = _indices
    for name in ("megatron_dataset", "megatron.helpers", "megatron.megatron_utils"):
        module = sys.modules.get(f"{_PACKAGE}.{name}")
        if module is not None:
            module.compile_helper = Helper  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Shuffle:
    """In place of the shuffle index: sample N is one of those that are indexed."""

    indexed: int

    def __getitem__(self, sample: int) -> int:
        return int(sample) % self.indexed


@dataclass(frozen=True)
class Samples:
    """In place of the sample index: the rows that are there, and the shape that all would have."""

    rows: Any
    shape: tuple[int, int]

    def __getitem__(self, sample: int) -> Any:
        return self.rows[sample]


def _indices(dataset: Any) -> tuple[Any, Samples, Shuffle]:
    """In place of GPTDataset's method of this name: documents, samples, and their order."""
    length, extra = dataset.config.sequence_length, int(dataset.config.add_extra_token_to_sequence)
    lengths = dataset.dataset.sequence_lengths
    tokens = _tokens(lengths, dataset.indices)
    if tokens <= 0:
        text = (
            f"{dataset.dataset_path} has no tokens in its split {dataset.index_split.name}: AutoModel would never end"
        )
        raise Fault("ValueError", text, "dataset.paths")
    wanted = dataset.num_samples
    epochs = 1 if wanted is None else max(1, -(-(wanted * length + extra) // tokens))
    total = max(0, (epochs * tokens - extra) // length)
    documents = _first_documents(lengths, dataset.indices, min(_SAMPLES, total) * length + extra, epochs)
    documents = _largest_id_first(dataset.dataset, documents)
    rows = sample_rows(lengths[documents], length, extra, total)
    return documents, Samples(rows, (total + 1, 2)), Shuffle(max(1, len(rows) - 1))


def _largest_id_first(tokens: Any, documents: Any) -> Any:
    """The document with the largest id goes first: of all samples, only the first ones are drawn."""
    highest = [int(max(tokens.get(int(number)), default=-1)) for number in documents[:_LOOKED_AT]]
    first = int(numpy.argmax(highest)) if highest else 0
    return numpy.concatenate([documents[first : first + 1], documents[:first], documents[first + 1 :]])


def _tokens(lengths: Any, documents: Any) -> int:
    if len(documents) <= _DOCUMENTS:
        return int(lengths[documents].sum(dtype=numpy.int64))
    every = len(documents) // _DOCUMENTS + 1
    return int(lengths[documents[::every]].mean(dtype=numpy.float64) * len(documents))


def _first_documents(lengths: Any, documents: Any, tokens: int, epochs: int) -> Any:
    """Documents from all over the corpus with so many tokens, again from the start where there are not as many."""
    number = min(len(documents), _LOOKED_AT)
    while number < len(documents) and lengths[_spread(documents, number)].sum(dtype=numpy.int64) < tokens:
        number = min(len(documents), 4 * number)
    chosen = _spread(documents, number)
    here = int(lengths[chosen].sum(dtype=numpy.int64))
    return numpy.tile(chosen, min(epochs, -(-tokens // here))) if here and tokens > here else chosen


def _spread(documents: Any, number: int) -> Any:
    return numpy.asarray(documents[:: max(1, len(documents) // max(number, 1))][:number], dtype=numpy.int32)


def sample_rows(lengths: Any, length: int, extra: int, most: int) -> Any:
    """Document and offset at which each sample begins, and the last one ends: as AutoModel's helper computes them."""
    ends = numpy.cumsum(lengths, dtype=numpy.int64)
    count = max(0, min(most, (int(ends[-1]) - extra) // length if len(ends) else 0))
    starts = numpy.arange(count + 1, dtype=numpy.int64) * length
    documents = numpy.searchsorted(ends, starts, side="right")
    documents = numpy.minimum(documents, max(len(ends) - 1, 0))
    offsets = starts - (ends[documents] - lengths[documents])
    return numpy.stack([documents, offsets], axis=1)


class Helper:
    """In place of the compiled module: what AutoModel calls of it for blends."""

    @staticmethod
    def build_blending_indices(chosen: Any, sample: Any, weights: Any, number: int, size: int, verbose: bool) -> None:
        """Fill which data set each sample of a blend is taken from, and which sample of it that is."""
        shares = numpy.asarray(weights, dtype=numpy.float64)
        taken = numpy.zeros(number, dtype=numpy.int64)
        for at in range(min(size, _BLENDED)):
            chosen[at] = best = int(numpy.argmax(shares * max(at, 1) - taken))
            sample[at] = taken[best]
            taken[best] += 1
        _fill_blocks(chosen, sample, taken, numpy.maximum(_counts(shares, size), taken), min(size, _BLENDED))

    @staticmethod
    def build_exhaustive_blending_indices(chosen: Any, sample: Any, sizes: Any, number: int) -> None:
        """The same, where every data set is taken whole."""
        whole = numpy.asarray(sizes, dtype=numpy.int64)
        _fill_blocks(chosen, sample, numpy.zeros(number, dtype=numpy.int64), whole, 0)


def _counts(shares: Any, size: int) -> Any:
    counts = numpy.floor(shares * size).astype(numpy.int64)
    rest = size - int(counts.sum())
    counts[numpy.argsort(-(shares * size - counts))[:rest]] += 1
    return counts


def _fill_blocks(chosen: Any, sample: Any, taken: Any, counts: Any, at: int) -> None:
    for number, (begun, count) in enumerate(zip(taken, counts, strict=True)):
        end = min(at + int(count - begun), len(chosen))
        chosen[at:end] = number
        sample[at:end] = numpy.arange(int(begun), int(begun) + end - at)
        at = end
