"""A config with what stands behind it: the recipe's own values, and the defaults of its sections' classes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automodel_launch.backends import Config
from automodel_launch.backends.megatron_bridge import keys, schema
from automodel_launch.backends.megatron_bridge.schema import Recipe
from automodel_launch.config import dotted


@dataclass(frozen=True)
class Settings:
    """`config` is the resolved one; `recipe` is None where it names none that the schema knows."""

    config: Config
    recipe: Recipe | None

    def value(self, key: str) -> Any:
        """A value as the training has it; None where it is null, is not known here, or is left to the job."""
        if self.written(key):
            found = dotted.get(self.config, key)
            return None if dotted.left_to_the_job(found) else found
        section, _, name = key.partition(".")
        if self._replaced(key):
            return None
        if self.recipe and key in self.recipe.values:
            return self.recipe.values[key]
        classes = schema.load().classes(section, self.recipe) if self.recipe else []
        field = schema.load().fields(classes[0]).get(name) if classes and self._has(section) else None
        return field.default if field else None

    def number(self, key: str) -> int | None:
        """An integer; None where it is not one."""
        found = self.value(key)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def rate(self, key: str) -> float | None:
        """A number, which a string may hold."""
        found = self.value(key)
        try:
            return None if found is None or isinstance(found, bool) else float(found)
        except (TypeError, ValueError):
            return None

    def written(self, key: str) -> bool:
        """The config has the key, also with the value null."""
        return dotted.has(self.config, key)

    def known(self, *names: str) -> bool:
        """None of these values is one that only the job has."""
        return not any(dotted.left_to_the_job(dotted.get(self.config, name)) for name in names)

    @property
    def complete(self) -> bool:
        """The recipe's own values are known, so that what nobody gives is not there."""
        return bool(self.recipe and self.recipe.classes)

    @property
    def pretrains(self) -> bool | None:
        """Whether it is a pretraining; None where neither `mode` nor the recipe's name tells."""
        mode = self.config.get(keys.MODE)
        if mode in keys.MODES:
            return bool(mode == "pretrain")
        bare = recipe_path(self.config).rpartition(".")[2].lower()
        if "pretrain" in bare:
            return True
        return False if any(word in bare for word in ("finetune", "sft", "peft")) else None

    def _replaced(self, key: str) -> bool:
        """The config has something of its own, or null, where the recipe has the section that holds the key."""
        parts = key.split(".")
        above = [".".join(parts[:count]) for count in range(1, len(parts))]
        found = [dotted.get(self.config, one) for one in above if dotted.has(self.config, one)]
        return any(not isinstance(one, Mapping) or keys.TARGET in one for one in found)

    def _has(self, section: str) -> bool:
        """The container has a value there without anybody's doing; `ft` and its like are null."""
        return not schema.load().sections.get(section, {}).get("null")


def of(config: Config) -> Settings:
    """The settings of a config."""
    path = recipe_path(config)
    return Settings(config, _recipe(path) if path else None)


@functools.lru_cache(maxsize=64)
def _recipe(path: str) -> Recipe | None:
    return schema.load().recipe(path)


def recipe_path(config: Config) -> str:
    """Name or dotted path of the recipe; empty where there is none."""
    written = config.get(keys.RECIPE)
    path = written.get(keys.TARGET) if isinstance(written, Mapping) else written
    return path if isinstance(path, str) else ""


def arguments(config: Config) -> dict[str, Any]:
    """What the recipe is called with."""
    written = config.get(keys.RECIPE)
    if not isinstance(written, Mapping):
        return {}
    return {str(key): value for key, value in written.items() if key != keys.TARGET}
