"""nanoGPT shards: NanogptDataset deals whole files out to its readers, and says nothing where that leaves some out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel.data.facts import Found
from automodel_launch.config import dotted
from automodel_launch.plan.describe import said
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def one_model(plan: Plan) -> Iterator[Finding]:
    """The ranks that hold one model together would each train it on other tokens (0.7.0: files are dealt by rank)."""
    mesh = automodel.mesh(plan.config)
    if mesh is None or not any(True for _ in _patterns(plan)):
        return
    sizes = {automodel.TP: mesh.tp_size, automodel.CP: mesh.cp_size, automodel.PP: mesh.pp_size}
    for key, size in sizes.items():
        if size > 1:
            message = f"{said(plan, key)}: with NanogptDataset the ranks of one model get different tokens."
            yield Finding("error", "nanogpt-parallel", message, f"{key}=1, or data of data-prep's format: megatron")


def read_whole(plan: Plan, found: Found) -> Iterator[Finding]:
    """Exactly one file, or two and more for each reader, are read whole; docs/data.md says how that was found."""
    readers = _readers(plan)
    for key, pattern in _patterns(plan):
        files = len(_files(pattern, found))
        if files < 2 or files >= 2 * readers:
            continue
        message = (
            f"{said(plan, key)}: {files} files for {readers} readers ({plan.world_size} ranks x data loader workers):"
            " NanogptDataset leaves parts of them out, or reads them twice."
        )
        fix = f"prepare the data with ranks={readers}, or as one file (ranks: null)"
        yield Finding("warning", "nanogpt-files", message, fix)


def enough(plan: Plan, found: Found) -> Iterator[Finding]:
    """A reader without a whole sequence looks for one for ever, and says nothing (_get_file_iterator)."""
    readers, sequence = _readers(plan), automodel.sequence(plan.config)
    for key, pattern in _patterns(plan) if sequence else ():
        files = _files(pattern, found)
        tokens = [found.facts("files", file).get("tokens", 0) for file in files]
        if not files or min(tokens) <= 0 or sequence is None:
            continue
        least = min(_largest_part(tokens, readers, reader) for reader in range(min(readers, max(len(files), 1) + 1)))
        if least <= sequence[1]:
            message = (
                f"{said(plan, key)}: a reader of the {readers} (ranks x data loader workers) gets {least:,} tokens,"
                f" and {said(plan, sequence[0])} needs one more than that many: it would wait for ever."
            )
            yield Finding("error", "nanogpt-few", message, f"more data, fewer ranks, or a shorter {sequence[0]}")


def validation(plan: Plan) -> Iterator[Finding]:
    """Validating on a data set that begins anew for ever never ends."""
    for key, kind, _ in automodel.datasets(plan.config):
        if key.startswith(automodel.VALIDATION) and automodel.NANOGPT_DATASET in kind:
            message = f"{said(plan, f'{key}._target_')} begins anew for ever: the first validation would never end."
            yield Finding("error", "nanogpt-validation", message, f"~{key}, or Megatron data for it")


def _largest_part(tokens: list[int], readers: int, reader: int) -> int:
    """Tokens of the longest stretch that a reader has; one that has a single file reads its own part of that."""
    own = tokens[reader::readers] or tokens
    return own[0] // readers if len(own) == 1 else max(own)


def _readers(plan: Plan) -> int:
    workers = dotted.get(plan.config, "dataloader.num_workers")
    return plan.world_size * (workers if isinstance(workers, int) and workers > 0 else 1)


def _files(pattern: list[Any], found: Found) -> list[str]:
    return [file for one in pattern for file in found.facts("shards", str(one)).get("files", [])]


def _patterns(plan: Plan) -> Iterator[tuple[str, list[Any]]]:
    """(key, patterns) of the training data that are nanoGPT shards."""
    for key, value in automodel.data_paths(plan.config):
        if key == "dataset.file_pattern" and not dotted.left_to_the_job(value):
            yield key, value if isinstance(value, list) else [value]


CHECKS = (one_model, validation)
