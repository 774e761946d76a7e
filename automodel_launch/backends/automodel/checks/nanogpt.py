"""nanoGPT shards: NanogptDataset distributes files over its readers, and does not say which parts it leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch.backends.automodel import datasets, distributed, keys, loader
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def one_model(plan: Plan) -> Iterator[Finding]:
    """The ranks that hold one model together would each train it on other tokens (files are assigned by rank)."""
    mesh = distributed.mesh(plan.config)
    if mesh is None or not any(True for _ in _patterns(plan)):
        return
    sizes = {keys.TP: mesh.tp_size, keys.CP: mesh.cp_size, keys.PP: mesh.pp_size}
    for key, size in sizes.items():
        if size > 1:
            message = f"{describe(plan, key)}: with NanogptDataset the ranks of one model get different tokens."
            yield Finding("error", "nanogpt-parallel", message, f"{key}=1, or data of data-prep's format: megatron")


def completely_read(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Only one file, or at least two for each reader, are read completely; docs/data.md says how that was found."""
    readers = _readers(plan)
    for key, pattern in _patterns(plan):
        files = len(_files(pattern, data))
        if files < 2 or files >= 2 * readers:
            continue
        message = (
            f"{describe(plan, key)}: {files} files for {readers} readers"
            f" ({plan.world_size} ranks x data loader workers): NanogptDataset leaves parts of them"
            " out, or reads them twice."
        )
        fix = f"prepare the data with ranks={readers}, or as one file (ranks: null)"
        yield Finding("warning", "nanogpt-files", message, fix)


def enough(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """A reader without a complete sequence searches for one and never stops (_get_file_iterator)."""
    readers, sequence = _readers(plan), datasets.sequence(plan.config)
    for key, pattern in _patterns(plan) if sequence else ():
        files = _files(pattern, data)
        tokens = [data.about("files", file).get("tokens", 0) for file in files]
        if not files or min(tokens) <= 0 or sequence is None:
            continue
        least = min(_largest_part(tokens, readers, reader) for reader in range(min(readers, max(len(files), 1) + 1)))
        if least <= sequence[1]:
            message = (
                f"{describe(plan, key)}: a reader of the {readers} (ranks x data loader workers) gets {least:,} tokens,"
                f" and {describe(plan, sequence[0])} needs one more than that many: it would never stop waiting."
            )
            yield Finding("error", "nanogpt-few", message, f"more data, fewer ranks, or a shorter {sequence[0]}")


def validation(plan: Plan) -> Iterator[Finding]:
    """Validation on a dataset that never stops does not end."""
    for key, kind, _ in datasets.datasets(plan.config):
        if key.startswith(keys.VALIDATION) and datasets.NANOGPT_DATASET in kind:
            message = f"{describe(plan, f'{key}._target_')} never stops: the first validation would never end."
            yield Finding("error", "nanogpt-validation", message, f"~{key}, or Megatron data for it")


def _largest_part(tokens: list[int], readers: int, reader: int) -> int:
    """Tokens of the longest stretch that a reader has; one that has a single file reads its part of that."""
    own = tokens[reader::readers] or tokens
    return own[0] // readers if len(own) == 1 else max(own)


def _readers(plan: Plan) -> int:
    workers = loader.value(plan.config, "dataloader.num_workers")
    return plan.world_size * (workers if isinstance(workers, int) and workers > 0 else 1)


def _files(pattern: list[Any], data: DataFacts) -> list[str]:
    return [file for one in pattern for file in data.about("shards", str(one)).get("files", [])]


def _patterns(plan: Plan) -> Iterator[tuple[str, list[Any]]]:
    """(key, patterns) of the training data that are nanoGPT shards."""
    for key, value in datasets.data_paths(plan.config):
        if key == "dataset.file_pattern" and not dotted.left_to_the_job(value):
            yield key, value if isinstance(value, list) else [value]


CHECKS = (one_model, validation)
