"""What a config names outside itself."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends import Config, Reference
from automodel_launch.backends.automodel.checkpoints import checkpoint_dir
from automodel_launch.backends.automodel.datasets import conversations, data_paths, index_dirs, tokenizers
from automodel_launch.backends.automodel.keys import CHECKPOINT_DIR, TEACHER
from automodel_launch.backends.automodel.loader import DISTILLATION, recipe_class
from automodel_launch.backends.automodel.model.section import place
from automodel_launch.config.dotted import get, left_to_the_job


def references(config: Config) -> Iterator[Reference]:
    """Everything that the config names outside itself."""
    yield from (Reference("data", key, value) for key, value in data_paths(config))
    for key, section in conversations(config):
        named = section.get("path_or_dataset_id")
        absolute = (one for one in (named if isinstance(named, list) else [named]) if str(one).startswith("/"))
        yield from (Reference("data", f"{key}.path_or_dataset_id", one) for one in absolute)  # others are hub ids
    yield from (Reference("tokenizer", key, value) for key, value in tokenizers(config))
    model = place(config)
    if model:
        yield Reference("model", *model)
    teacher = get(config, TEACHER)  # read by the recipe of distillation alone
    if isinstance(teacher, str) and recipe_class(config) == DISTILLATION:
        yield Reference("model", TEACHER, teacher)
    yield from (Reference("output", key, path) for key, path in outputs(config))


def outputs(config: Config) -> Iterator[tuple[str, str]]:
    """(key, absolute path) of the directories that the training writes: its data's index, and checkpoints."""
    for key, path in (*index_dirs(config), (CHECKPOINT_DIR, checkpoint_dir(config))):
        if isinstance(path, str) and path.startswith("/") and not left_to_the_job(path):
            yield key, path
