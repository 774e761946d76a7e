"""What Megatron-Bridge takes in a training config, known without importing it: a data file made from a release.

scripts/make_bridge_schema.py writes bridge-VERSION.json:

    bridge, core, torch, transformers   versions that it was made from
    sections        {section of ConfigContainer: {"classes": [...], "null", "str": it may be that instead}}
    classes         {class: {field: [kind, default]}}; a provider of models has `from`, the class that it is made from,
                    `without`, fields of that one that it lacks, and its own fields. Without a default: required
    values          {key: names that it may be}, beyond its annotation
    step_functions  modules with a forward step
    recipes         {name: {"module", "mode", "model", "dataset", "peft": classes of its sections, "hub": the model
                    whose Hugging Face config it asks for, "arguments": {name: kind}, "required": arguments,
                    "values": {dotted key: value}, those that are not the default of their class,
                    "failed": why it does not build, also where there is a GPU}}

schema/kinds.py reads a kind.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = "0.3.1"
PACKAGE = "megatron.bridge"
RECIPES = f"{PACKAGE}.recipes"
UNKNOWN = "?"  # a default that is an object, which no YAML has
_FROM, _WITHOUT = "from", "without"


@dataclass(frozen=True)
class Field:
    """A field of a section: its kind, and its default; None where it has none, or one that no YAML has."""

    kind: str
    default: Any = None


@dataclass(frozen=True)
class Recipe:
    """A function of megatron.bridge.recipes."""

    name: str
    module: str
    mode: str
    hub: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)  # section -> class
    values: Mapping[str, Any] = field(default_factory=dict)
    failed: str | None = None

    @property
    def path(self) -> str:
        """Its dotted path."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Schema:
    """The data file, with look-ups."""

    data: Mapping[str, Any]

    @property
    def sections(self) -> Mapping[str, Mapping[str, Any]]:
        """The sections of ConfigContainer."""
        found: Mapping[str, Mapping[str, Any]] = self.data["sections"]
        return found

    def recipe(self, path: str) -> Recipe | None:
        """The recipe of a name, or of a dotted path below megatron.bridge.recipes, whose packages export it, too."""
        module, _, name = path.rpartition(".")
        entry = self.data["recipes"].get(name)
        if entry is None or not f"{entry['module']}.".startswith(f"{module or RECIPES}.") or not _below(module):
            return None
        return Recipe(
            name=name,
            module=entry["module"],
            mode=entry["mode"],
            hub=entry.get("hub"),
            arguments=entry.get("arguments", {}),
            required=tuple(entry.get("required", ())),
            classes={section: entry[section] for section in ("model", "dataset", "peft") if section in entry},
            values=entry.get("values", {}),
            failed=entry.get("failed"),
        )

    @property
    def recipes(self) -> list[str]:
        """Names of all recipes."""
        return list(self.data["recipes"])

    def classes(self, section: str, recipe: Recipe | None) -> list[str]:
        """Classes that may fill a section: the recipe's, else all that the container and any recipe give it."""
        if recipe and section in recipe.classes:
            return [recipe.classes[section]]
        given = self.sections.get(section, {}).get("classes", [])
        used = {entry[section] for entry in self.data["recipes"].values() if section in entry}
        return [*given, *sorted(used - set(given))] if section in ("model", "dataset", "peft") else list(given)

    def fields(self, name: str) -> Mapping[str, Field]:
        """The fields of a class."""
        return _fields(name)

    def inner(self, kind: str) -> str | None:
        """The class that a field of this kind holds, where it is one that the file has."""
        found = [part[1:] for part in kind.split("|") if part.startswith("@")]
        return found[0] if found and found[0] in self.data["classes"] else None


def _below(module: str) -> bool:
    return module in ("", RECIPES) or module.startswith(f"{RECIPES}.")


@functools.cache
def _fields(name: str) -> Mapping[str, Field]:
    entry = load().data["classes"][name]
    found = dict(_fields(entry[_FROM])) if _FROM in entry else {}
    for left_out in entry.get(_WITHOUT, ()) if _FROM in entry else ():
        found.pop(left_out, None)
    for key, value in entry.items():
        if key in (_FROM, _WITHOUT):
            continue
        default = value[1] if len(value) > 1 and value[1] != UNKNOWN else None
        found[key] = Field(value[0], default)
    return found


def fields_of(classes: list[str]) -> Iterator[tuple[str, Field]]:
    """(name, field) of all fields that one of the classes has."""
    for name in classes:
        yield from _fields(name).items()


@functools.cache
def load() -> Schema:
    """The schema; read once, at the first use (a few milliseconds)."""
    path = Path(__file__).with_name(f"bridge-{VERSION}.json")
    return Schema(json.loads(path.read_text(encoding="utf-8")))
