"""Megatron data in phases (data_phases.py), for AutoModel 0.7.0, whose own class has one blend for a run.

Every prefix is a stream of its samples: an epoch of it, shuffled, then the next one, shuffled otherwise. A phase takes
of each stream what its weights ask for, from where the phase before has stopped. So no sample comes twice before all
others of its prefix have come once, in whichever phases that is; and the order depends neither on the length of the run
nor on phases that are still to come. Index maps, blending and their cache are AutoModel's own.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from nemo_automodel.components.datasets.llm.megatron.builder import BlendedDataset, BlendedMegatronDatasetBuilder
from nemo_automodel.components.datasets.llm.megatron.gpt_dataset import Split
from nemo_automodel.components.datasets.llm.megatron_dataset import MegatronPretraining, MegatronPretrainingConfig
from torch.utils.data import ConcatDataset

from . import data_phases
from .output import say

_TARGET = "dataset._target_"
_COUNTED_AT_ONCE = 1 << 20
_SPARE = 2  # samples by which AutoModel's blending may exceed a weight's share


@dataclass
class PhasedMegatronConfig(MegatronPretrainingConfig):  # type: ignore[misc]  # follow_imports = skip
    """MegatronPretraining's keys, with `phases` in place of `paths`."""

    paths: Any = None
    phases: dict[str, Any] = field(default_factory=dict)

    def build(self, *, tokenizer: Any, training_schedule: Any) -> ConcatDataset[Any]:
        """The samples of the whole run, phase after phase; called on every rank."""
        batch = int(training_schedule.global_batch_size)
        planned = data_phases.read(self.phases, training_schedule.max_steps, batch * self.seq_length)
        blends = [self._blend(phase, tokenizer, batch) for phase in planned]
        return ConcatDataset(_Builder(blends).build())

    def _blend(self, phase: data_phases.Phase, tokenizer: Any, batch: int) -> _Blend:
        """AutoModel's own reading of `paths`."""
        read = MegatronPretraining(
            paths=phase.paths, tokenizer=tokenizer, global_batch_size=batch, splits_to_build="train",
            **{name: getattr(self, name) for name in _PASSED_ON},
        )  # fmt: skip
        apart = read.build_kwargs.get("blend_per_split")
        found = apart[0] if apart else read.build_kwargs["blend"]
        if not found:
            raise ValueError(f"{data_phases.KEY}.{phase.name}.paths: there is no split `train`")
        config = read.gpt_dataset_config
        return _Blend(*_merged(*found), samples=phase.steps * batch, whole=bool(apart), config=config)


_PASSED_ON = (
    *("seq_length", "create_attention_mask", "seed", "split", "index_mapping_dir"),
    *("num_dataset_builder_threads", "mmap_bin_files", "object_storage_config"),
)


@dataclass(frozen=True)
class _Blend:
    """A phase's prefixes; `whole`: all of them is for training, not only the part that `split` says."""

    prefixes: list[str]
    weights: list[float] | None
    samples: int
    whole: bool
    config: Any


class _Stream:
    """The samples of a prefix, epoch after epoch; `taken` of them are used."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []
        self.taken = 0

    def __getitem__(self, sample: int) -> Any:
        epoch, at = divmod(int(sample), len(self.epochs[0]))
        return self.epochs[epoch][at]


class _Part:
    """A piece of a stream, as BlendedDataset takes it."""

    index_split = Split.train

    def __init__(self, stream: _Stream, length: int) -> None:
        self.stream, self.start, self.length = stream, stream.taken, length
        self.unique_identifiers = {"stream": stream.epochs[0].unique_identifiers, "start": self.start}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, sample: int) -> Any:
        return self.stream[self.start + int(sample)]


class _Builder(BlendedMegatronDatasetBuilder):  # type: ignore[misc]  # follow_imports = skip
    """AutoModel's builder, whose build() gives one dataset a phase in place of one a split."""

    def __init__(self, blends: Sequence[_Blend]) -> None:
        super().__init__([None, None, None], lambda: True, config=blends[0].config, enabled_splits=["train"])
        self._blends = blends
        self._streams: dict[tuple[str, bool], _Stream] = {}

    def _build_blended_dataset_splits(self) -> list[Any]:
        return [self._phase(blend) for blend in self._blends]

    def _phase(self, blend: _Blend) -> Any:
        keys = [(os.path.realpath(prefix), blend.whole) for prefix in blend.prefixes]
        streams = [self._streams.setdefault(key, _Stream()) for key in keys]
        self._make_epochs(blend, streams, [1] * len(streams))
        empty = [name for name, stream in zip(blend.prefixes, streams, strict=True) if not len(stream.epochs[0])]
        if empty:
            raise ValueError(f"{empty[0]} is shorter than one sample of {blend.config.sequence_length} tokens")
        weights = blend.weights or [float(len(stream.epochs[0])) for stream in streams]
        shares = [weight / sum(weights) for weight in weights]
        most = [math.floor(share * blend.samples) + _SPARE for share in shares]
        parts = [_Part(stream, count) for stream, count in zip(streams, most, strict=True)]
        if len(parts) == 1:
            parts[0].length = blend.samples
            made, counts = parts[0], [blend.samples]
        else:
            args = (parts, shares, blend.samples, blend.config)
            made = self.build_generic_dataset(BlendedDataset, self.is_built_on_rank, True, *args)
            counts = _counts(made.dataset_index, len(parts))
        for stream, count in zip(streams, counts, strict=True):
            stream.taken += count
        self._make_epochs(blend, streams, [-(-stream.taken // len(stream.epochs[0])) for stream in streams])
        return made

    def _make_epochs(self, blend: _Blend, streams: Sequence[_Stream], wanted: Sequence[int]) -> None:
        """Build what is missing, an epoch of all streams at a time; every rank has the same to do."""
        for epoch in range(max(wanted)):
            config = copy.copy(blend.config)
            config.random_seed += epoch
            short = [at for at, count in enumerate(wanted) if len(streams[at].epochs) == epoch < count]
            if not short:
                continue
            # AutoModel 0.7.0, builder.py: rank 0 first, then the others from its cache; GPTDataset takes self.config.
            self.config = config
            split = [(0.0, 1.0), None, None] if blend.whole else self._masked_split_matrix(config.split_matrix)
            names = [blend.prefixes[at] for at in short]
            made = self._build_megatron_datasets_parallel(names, split, [[None] * len(Split)] * len(names))[0]
            for at, dataset in zip(short, made, strict=True):
                streams[at].epochs.append(dataset)


def install(config: Any) -> None:
    """Have AutoModel's config node `config` build its data in phases.

    Raises:
        PhaseError: they cannot be used.
    """
    if config.get(_TARGET) not in (MegatronPretraining, MegatronPretrainingConfig):
        what = f"only MegatronPretraining has phases, and {_TARGET} is another"
        raise data_phases.PhaseError(data_phases.KEY, what, f"leave out {data_phases.KEY}")
    phases, scheduler = config.get(data_phases.KEY), config.step_scheduler
    tokens = int(scheduler.get("global_batch_size", 1)) * int(config.get("dataset.seq_length", 2048))
    raw = phases.to_dict() if hasattr(phases, "to_dict") else phases
    planned = data_phases.read(raw, scheduler.get("max_steps", None), tokens)
    config.dataset._target_ = PhasedMegatronConfig
    say(f"data phases: {data_phases.told(planned)}")


def _merged(prefixes: Sequence[str], weights: Sequence[float] | None) -> tuple[list[str], list[float] | None]:
    """Each prefix once: two parts of one stream would hold the same samples."""
    names: dict[str, str] = {}
    shares: dict[str, float] = {}
    for prefix, weight in zip(prefixes, weights or [0.0] * len(prefixes), strict=True):
        real = os.path.realpath(prefix)
        names.setdefault(real, prefix)
        shares[real] = shares.get(real, 0.0) + float(weight)
    return list(names.values()), list(shares.values()) if weights else None


def _counts(chosen: Any, number: int) -> list[int]:
    """How often a blend takes each of its parts; its index may be larger than memory."""
    counts = numpy.zeros(number, dtype=numpy.int64)
    for part in _slices(chosen):
        counts += numpy.bincount(part, minlength=number)
    return [int(count) for count in counts]


def _slices(array: Any) -> Iterator[Any]:
    for at in range(0, len(array), _COUNTED_AT_ONCE):
        yield array[at : at + _COUNTED_AT_ONCE]
