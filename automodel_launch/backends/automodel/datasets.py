"""The datasets of a config, and the tokenizers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch import data_identity
from automodel_launch.backends import Data
from automodel_launch.backends.automodel import loader, phases
from automodel_launch.backends.automodel.keys import PACKED, PRETRAINED, TRAIN_SAMPLES, VALIDATION
from automodel_launch.config.dotted import flatten

MEGATRON_DATASET = "MegatronPretraining"
NANOGPT_DATASET = "NanogptDataset"
_CHAT = "ChatDataset"
_COLUMNS, _STREAMED = "ColumnMappedTextInstructionDataset", "ColumnMappedTextInstructionIterableDataset"


def is_dataset(key: str) -> bool:
    """A top-level key that names the training data, or a validation set, of which there may be several."""
    return key == "dataset" or key.startswith(VALIDATION)


def datasets(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(key, class name, section) of each dataset in the config, the training data first."""
    for key in sorted(map(str, config)):  # "dataset" stands before "validation_dataset"
        section = config.get(key)
        if is_dataset(key) and isinstance(section, Mapping):
            yield key, str(section.get("_target_", "")).rpartition(".")[2], section


def data_paths(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of what names training data: Megatron's `paths`, of each phase too, nanoGPT's `file_pattern`."""
    for key, kind, section in datasets(config):
        if key == "dataset" and phases.are_given(config) and section.get("paths") is None:
            yield from phases.paths(config)
            continue
        leaf = {MEGATRON_DATASET: "paths", f"{MEGATRON_DATASET}Config": "paths", NANOGPT_DATASET: "file_pattern"}.get(
            kind.rpartition(":")[2]
        )
        if leaf and leaf in section:
            yield f"{key}.{leaf}", section[leaf]


def is_megatron(kind: str) -> bool:
    """A section's class is AutoModel's for Megatron data, by either of its names."""
    return kind.rpartition(":")[2] in (MEGATRON_DATASET, f"{MEGATRON_DATASET}Config")


def conversations(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(key, section) of each dataset whose `path_or_dataset_id` names JSONL files or a dataset of the hub."""
    return ((key, section) for key, _, section in datasets(config) if reads_conversations(section))


def reads_conversations(section: Mapping[str, Any]) -> bool:
    """A section's class reads rows of JSONL files, or of a dataset of the hub."""
    return _kind(section) in (_CHAT, _COLUMNS, _STREAMED)


def streams(section: Mapping[str, Any]) -> bool:
    """Conversations that are read as they come: of such a dataset ranks may get rows while others get none."""
    return _kind(section) == _STREAMED


def is_chat(section: Mapping[str, Any]) -> bool:
    """Rows are `messages`; else the section's `column_mapping` names their columns."""
    return _kind(section) == _CHAT


def _kind(section: Mapping[str, Any]) -> str:
    """Its class's name, which stands behind a `.` or a `:`."""
    return re.split("[.:]", str(section.get("_target_", "")))[-1].removesuffix("Config")


def identified(config: Mapping[str, Any]) -> Data:
    """The same as files whose identity can be told, each value once; caches are the index maps of Megatron data."""
    named: list[tuple[str, str, Any]] = []
    first = phases.first_steps(config)
    for key, value in data_paths(config):
        form = data_identity.NANOGPT if key.endswith("file_pattern") else data_identity.MEGATRON
        if key in first:  # a value that comes again is told again: the phases are in their order
            named.append((data_identity.from_step(form, first[key]), key, value))
        elif value and all((form, value) != (other, known) for other, _, known in named):
            named.append((form, key, value))
    for key, section in conversations(config):
        value = _local(section.get("path_or_dataset_id"))
        if value and all(value != other for _, _, other in named):
            named.append((data_identity.FILES, f"{key}.path_or_dataset_id", value))
    caches = (path for _, path in index_dirs(config) if isinstance(path, str) and path.startswith("/"))
    return Data(tuple(named), tuple(dict.fromkeys(caches)))


def _local(value: Any) -> list[str]:
    """The paths among what names conversations; hub ids and addresses have no identity that files tell."""
    named = value if isinstance(value, list) else [value]
    return [one for one in named if isinstance(one, str) and one.startswith("/")]


def index_dirs(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(key, directory) of the index of Megatron data; None: in PREFIX/cache, beside the data (gpt_dataset.py)."""
    for key, kind, section in datasets(config):
        if MEGATRON_DATASET in kind:
            yield f"{key}.index_mapping_dir", section.get("index_mapping_dir")


def aligns(config: Mapping[str, Any]) -> bool:
    """Sequences of nanoGPT data start at BOS tokens, whose positions are in .bos.idx files."""
    return any(NANOGPT_DATASET in kind and section.get("align_to_bos") is True for _, kind, section in datasets(config))


def compiles(config: Mapping[str, Any]) -> bool:
    """Training needs a C++ compiler: MegatronPretraining builds its helper with torch's load_inline."""
    return any(MEGATRON_DATASET in kind for _, kind, _ in datasets(config))


def tokenizers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, directory or hub id) of each tokenizer."""
    for key, value in flatten(config):
        parts = key.split(".")
        if isinstance(value, str) and (parts == ["tokenizer"] or parts[-2:] == ["tokenizer", PRETRAINED]):
            yield key, value


def data_tokenizers(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Those of them that belong to a dataset."""
    return ((key, value) for key, value in tokenizers(config) if is_dataset(key.partition(".")[0]))


def sequence(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """(key, tokens) of a training sequence; of rows that conversations are packed into, of such a row."""
    packed = loader.value(config, PACKED)
    if isinstance(packed, int) and packed > 0 and not reads_megatron(config):
        return PACKED, packed
    return next((found for found in sequences(config) if found[0].startswith("dataset.")), None)


def reads_megatron(config: Mapping[str, Any]) -> bool:
    """Its training data are Megatron's, which are packed already."""
    return any(is_megatron(kind) for name, kind, _ in datasets(config) if name == "dataset")


def sequences(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(key, tokens) of a sequence of each dataset."""
    for key, _, _ in datasets(config):
        for leaf in ("seq_length", "seq_len"):
            value = loader.value(config, f"{key}.{leaf}")
            if isinstance(value, int) and not isinstance(value, bool):
                yield f"{key}.{leaf}", value


def endless(config: Mapping[str, Any]) -> bool:
    """The training data have no length: NanogptDataset never stops, so that only max_steps ends the run."""
    return any(key == "dataset" and NANOGPT_DATASET in kind for key, kind, _ in datasets(config))


def train_samples(config: Mapping[str, Any]) -> int | None:
    """`dataset.num_train_samples` of Megatron data."""
    value = loader.value(config, TRAIN_SAMPLES)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def validates(config: Mapping[str, Any]) -> bool:
    """There is a validation dataset; AutoModel reads every section whose name starts like this."""
    return any(str(key).startswith(VALIDATION) and value for key, value in config.items())
