"""Tables of env.toml against the schema; a wrong key or value is answered with what is valid there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from automodel_launch.errors import ProfileError
from automodel_launch.profile import messages, references
from automodel_launch.profile.keys import SYNONYMS
from automodel_launch.profile.schema import KEYS, SECTIONS, WRITTEN_KEYS, Profile, built


def check_section(name: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of a section that is not a profile.

    Raises:
        ProfileError: an unknown key or a wrong type.
    """
    try:
        return built(SECTIONS[name]).model_validate(_tuples(table)).model_dump(exclude_none=True)
    except ValidationError as error:
        known = tuple(SECTIONS[name].model_fields)
        raise messages.refusal(error, table, lambda key: f"{where}: {key}", known) from None


def check_table(table: dict[str, Any], where: str) -> None:
    """Check one table of env.toml by itself, before inheritance and before references are resolved.

    Raises:
        ProfileError: an unknown key or a wrong type.
    """
    both = [k for k, synonym in SYNONYMS.items() if k in table and synonym in table]
    if both:
        raise ProfileError(f"{where}: '{both[0]}' and '{SYNONYMS[both[0]]}' mean the same; give one of them.")
    values = {SYNONYMS.get(k, k): v for k, v in table.items() if k != "extends"}
    if not isinstance(table.get("extends", ""), str):
        raise ProfileError(f"{where}: extends = {table['extends']!r} is not the name of a profile.")
    written = {SYNONYMS.get(k, k): k for k in table}
    values = {k: v for k, v in values.items() if k not in KEYS or not references.has(v)}
    validate(values, lambda key: f"{where}: {written.get(key, key)}")


def validate(values: dict[str, Any], where: Callable[[str], str]) -> Profile:
    """A Profile out of merged values; `where(key)` tells where a key was set.

    Raises:
        ProfileError: an unknown key, a wrong type or a value out of range.
    """
    try:
        return built(Profile).model_validate(_tuples(values))
    except ValidationError as error:
        raise messages.refusal(error, values, where, WRITTEN_KEYS) from None


def _tuples(value: Any) -> Any:
    """Lists as tuples, so that strict pydantic takes TOML's lists and a Profile stays immutable."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
