"""Directories that the training writes: can they be written, and is the index in one of its own."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import checkpoints, datasets, keys, references
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.paths import of_each_job, unwritable
from automodel_launch.plan.describe import override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def writable(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """AutoModel writes checkpoints hours after the start, and the index when the model is loaded."""
    for key, path in references.outputs(plan.config):
        message = unwritable(plan, key, path, data)
        if message is None:
            continue
        if key == keys.CHECKPOINT_DIR:
            fix = f"{key}=${{run.dir}}/checkpoints, or another directory of yours"
            yield Finding("error", "checkpoint-dir", message, fix)
        else:
            yield Finding("error", "index-dir", message, f"{key}={_own_index(key)}")


def relative(plan: Plan) -> Iterator[Finding]:
    """The checkpoints' directory is the run's, not a job's."""
    value = checkpoints.checkpoint_dir(plan.config)
    if value and not value.startswith("$"):  # a variable that AutoModel fills in
        yield from of_each_job(plan, keys.CHECKPOINT_DIR)


def beside_the_data(plan: Plan) -> Iterator[Finding]:
    """Without index_mapping_dir the index is written beside the data, and later used for other data in their place."""
    for key, path in datasets.index_dirs(plan.config):
        if path is None:
            message = f"{key} is not given: the index is written beside the data, and is still used when they change."
            yield Finding("warning", "index-dir", message, override(plan, key, _own_index(key)))
            return


def _own_index(key: str) -> str:
    return f"${{run.dir}}/index/{'train' if key.startswith('dataset') else 'validation'}"


CHECKS = (beside_the_data, relative)
