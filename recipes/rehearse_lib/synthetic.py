"""Batches of the right shape, where the data cannot be seen from here."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from . import outcomes

_MANY = 1 << 20  # samples of a data set whose length is not known
_LENGTH = 512  # tokens of a sample, where the configuration does not limit them
_IDS = 30  # small ones, which every vocabulary has


def unseen(config: Any, job_python: bool) -> str | None:
    """What a data set's typed configuration names and cannot be seen from here; None where all of it can.

    Where the job's own Python runs, a file that is missing from a directory that is there is simply missing.
    """
    for path in _paths(config):
        if "://" in path:
            return path
        file = Path(path)
        if not file.is_absolute() or _is_there(path):
            continue
        if not job_python or not file.parent.is_dir():
            return path
    return None


def of_the_hub(error: BaseException) -> str | None:
    """The message of an error that means: it is on the Hub, and not in this machine's cache."""
    return outcomes.of_the_hub(error) if outcomes.is_of_the_hub(error) else None


def make(config: Any, tokenizer: Any) -> Any:
    """A data set of made-up samples; None where their shape is not known."""
    kind = type(config).__name__
    if kind in ("MegatronPretrainingConfig", "PhasedMegatronConfig"):  # the latter is pretrain_lib's
        return Made(int(config.seq_length), ("loss_mask",), tensors=True)
    if kind == "NanogptDatasetConfig":
        return Stream(int(config.seq_len))
    length = next((getattr(config, name) for name in ("seq_length", "max_length") if getattr(config, name, 0)), None)
    if getattr(config, "accepts_tokenizer", False) or hasattr(config, "path_or_dataset_id"):
        return Made(
            int(length or _LENGTH), ("attention_mask",), tensors=False, pad=getattr(tokenizer, "pad_token_id", 0)
        )
    return None


class Made(torch.utils.data.Dataset):  # type: ignore[misc]
    """Samples as AutoModel's data sets give them: ids, labels and masks of ones."""

    def __init__(self, length: int, masks: tuple[str, ...], *, tensors: bool, pad: int | None = None) -> None:
        self.length, self.masks, self.tensors, self.pad = length, masks, tensors, pad

    def __len__(self) -> int:
        return _MANY

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number >= _MANY:
            raise IndexError(number)
        ids = [1 + (number + at) % _IDS for at in range(self.length + 1)]
        sample: dict[str, Any] = {"input_ids": ids[:-1], "labels": ids[1:]}
        sample.update({mask: [1] * self.length for mask in self.masks})
        if self.tensors:
            made = {name: torch.tensor(value) for name, value in sample.items()}
            return {**made, **{mask: made[mask].float() for mask in self.masks}}
        return {**sample, "___PAD_TOKEN_IDS___": {"input_ids": self.pad or 0, "labels": -100, "attention_mask": 0}}


class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """The same without a length, as nanoGPT's shards are read."""

    def __init__(self, length: int) -> None:
        self.samples = Made(length, (), tensors=False)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(_MANY):
            sample = self.samples[number]
            yield {"input_ids": sample["input_ids"], "labels": sample["labels"]}

    def shard(self, ranks: int, rank: int) -> Stream:
        """Its share for a rank: all of them are alike."""
        return self


def _paths(config: Any) -> Iterator[str]:
    """All absolute paths and addresses that a typed configuration has, those in a blend's file included."""
    for value in list(vars(config).values()):
        for text in _strings(value):
            if text.startswith("/") or "://" in text:
                yield text
            if text.endswith(".json") and os.path.isfile(text):  # noqa: PTH113
                yield from _of_blend(text)


def _of_blend(path: str) -> Iterator[str]:
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return  # AutoModel says what is wrong with it
    yield from (text for text in _strings(content) if text.startswith("/"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _is_there(path: str) -> bool:
    """Whether a file, a pattern of files, or a prefix of Megatron data is there."""
    return os.path.exists(path) or os.path.exists(f"{path}.idx") or bool(glob.glob(path))  # noqa: PTH110, PTH207
