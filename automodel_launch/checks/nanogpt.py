"""nanoGPT shards: NanogptDataset deals whole files out to its readers, and says nothing where that leaves some out."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from typing import Any

from automodel_launch import automodel
from automodel_launch.checks.finding import Finding
from automodel_launch.checks.said import said
from automodel_launch.plan import Plan


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


def read_whole(plan: Plan) -> Iterator[Finding]:
    """Exactly one file, or two and more for each reader, are read whole; docs/data.md says how that was found."""
    for key, pattern, section in _patterns(plan):
        workers = automodel.get(plan.config, "dataloader.num_workers")
        readers = plan.world_size * (workers if isinstance(workers, int) and workers > 0 else 1)
        files = sum(len(glob.glob(str(one))) for one in pattern)  # noqa: PTH207 (as AutoModel reads it)
        if not plan.visible or files < 2 or files >= 2 * readers or "${oc.env:" in str(section):
            continue
        message = (
            f"{said(plan, key)}: {files} files for {readers} readers ({plan.world_size} ranks x data loader workers):"
            " NanogptDataset leaves parts of them out, or reads them twice."
        )
        fix = f"prepare the data with ranks={readers}, or as one file (ranks: null)"
        yield Finding("warning", "nanogpt-files", message, fix)


def _patterns(plan: Plan) -> Iterator[tuple[str, list[Any], Any]]:
    """(key, patterns, section) of the training data that are nanoGPT shards."""
    for key, value in automodel.data_paths(plan.config):
        if key == "dataset.file_pattern":
            yield key, value if isinstance(value, list) else [value], value


CHECKS = (one_model, read_whole)
