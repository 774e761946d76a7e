"""Whether AutoModel takes a key that a config does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends.automodel import keys, loader
from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.config import dotted


def takes(config: Mapping[str, Any], key: str) -> bool:
    """The key is one that it reads, given the rest of the config; False where that is not known."""
    section, _, name = key.rpartition(".")
    schema, top = schemas.load(), schemas.load().top(loader.recipe_class(config))
    if top is None:
        return False
    if not section:
        return key in top or key.startswith(keys.VALIDATION)
    given = dotted.get(config, section)
    target = given.get("_target_") if isinstance(given, Mapping) else None
    if isinstance(target, str):
        taken = schema.target(target)
    elif section == "distributed":
        taken = schema.strategy(str(dotted.get(config, keys.STRATEGY) or "fsdp2"))
        if name in schema.data["distributed"]["sizes"]:
            return True
    else:
        taken = schema.section("dataloader" if section == "validation_dataloader" else section)
    return taken is not None and name in {*taken.params, *taken.reads} and name not in taken.silent
