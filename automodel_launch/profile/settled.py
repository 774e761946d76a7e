"""Layers of keys -> one Profile: references resolved, Nemotron's keys in this launcher's terms, and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from automodel_launch.profile import brought, notified, references, schema
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
    values = {key: _typed(key, value, written.get(key)) for key, value in values.items()}
    values, sources = brought.translate(values, sources, base)
    profile = validate(values, lambda key: f"{key} ({_source(key, sources) or name})")
    notified.refuse(profile, f"notify ({_source('notify', sources) or name})")
    return profile, sources


def _source(key: str, sources: dict[str, str]) -> str | None:
    """Where a key was set last; a table has a source for each entry, also one that stands where none belongs."""
    return sources.get(key) or next((sources[name] for name in reversed(sources) if name.startswith(f"{key}.")), None)


def _typed(key: str, value: Any, written: Any) -> Any:
    """What a variable has brought, as the kind of the key."""
    if isinstance(value, Mapping) and isinstance(written, Mapping):
        return {name: _typed(key, entry, written.get(name)) for name, entry in value.items()}
    return schema.typed(key, value) if isinstance(value, str) and references.has(written) else value
