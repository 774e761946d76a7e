"""Layers of keys -> one Profile: references resolved, Nemotron's keys in this launcher's terms, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from automodel_launch.profile import brought, references, schema
from automodel_launch.profile.profiles import Layer, merge
from automodel_launch.profile.validation import validate


def settle(
    layers: Iterable[Layer], name: str, environ: Mapping[str, str], base: Path
) -> tuple[schema.Profile, dict[str, str]]:
    """The profile and the source of each of its values; relative mounts are below `base`, the checkout.

    Raises:
        ProfileError: an unknown key, a wrong value, or a variable that is not set.
    """
    written, sources = merge(layers)
    values, sources = references.resolve(written, sources, environ)
    for key, value in values.items():
        if references.has(written.get(key)) and isinstance(value, str):
            values[key] = schema.typed(key, value)
    values, sources = brought.translate(values, sources, base)
    return validate(values, lambda key: f"{key} ({sources.get(key, name)})"), sources
