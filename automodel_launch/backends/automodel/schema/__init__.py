"""What AutoModel takes in a training config, known without importing it: a data file made from an installed release.

scripts/make_automodel_schema.py writes automodel-VERSION.json:

    automodel, torch, transformers   versions that it was made from
    recipes      {recipe class: dotted path}
    top          {recipe class: {key at the top level that it reads: kind}}
    sections     {section: signature}
    distributed, strategies          the section `distributed`: sizes and sub-sections; {strategy: signature}
    values       {dotted key: strings that it may be};  dtypes: names of torch's dtypes
    compile_options  names of torch.compile's options
    datasets     {dataset's path: path of the config class that AutoModel builds in its place};  dion: the same
    losses       names of losses for the next token
    configs      what models read of every config that has it, and what transformers drops from one without a message
    targets      {dotted path: signature};  aliases {another dotted path: dotted path};  modules {module: public names}

A signature is {"params": {name: kind}, "required", "open" (takes any other keyword), "silent" (accepted, and without
effect), "lenient" (any other key is ignored without a message; without it, refused)}. schema/kinds.py reads a kind.
That of a model's config has "maps" ({another name: parameter}), "reads" (keywords that are no parameters, and that the
class or its models read) and "strict" (transformers compares types: an integer is no float, true is no integer).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = "0.7.0"
_ALIAS = ("nemo_automodel.models", "nemo_automodel.components.models")  # nemo_automodel/__init__.py


@dataclass(frozen=True)
class Signature:
    """What a section or a callable takes; see the module."""

    params: Mapping[str, str]
    required: tuple[str, ...] = ()
    open: bool = False
    silent: tuple[str, ...] = ()
    lenient: bool = False
    of_a_model: bool = False
    maps: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True)
class Schema:
    """The data file, with look-ups."""

    data: Mapping[str, Any]

    def top(self, recipe_class: str) -> Mapping[str, str] | None:
        """Keys at the top level, or None for a recipe class whose keys are not known."""
        found: Mapping[str, str] | None = self.data["top"].get(recipe_class)
        return found

    def section(self, name: str) -> Signature | None:
        """What a section takes, where its keys are fixed."""
        return signature(self.data["sections"].get(name))

    def strategy(self, name: str) -> Signature | None:
        """What the section `distributed` takes beside the sizes, with that strategy."""
        return signature(self.data["strategies"].get(name.lower()))

    def target(self, path: str) -> Signature | None:
        """What `path` takes, None where it is only known by name, or not at all."""
        return signature(self.data["targets"].get(self.home(path)))

    def home(self, path: str) -> str:
        """The path at which something is defined, for one by which it can be named."""
        old, new = _ALIAS
        path = new + path.removeprefix(old) if path == old or path.startswith(f"{old}.") else path
        if path.startswith("transformers.models."):
            path = f"transformers.{path.rpartition('.')[2]}"
        if path in self.data["targets"]:
            return path
        owner, _, method = path.rpartition(".")
        aliases: Mapping[str, str] = self.data["aliases"]
        return aliases.get(path) or (f"{aliases[owner]}.{method}" if owner in aliases else path)

    def exists(self, path: str) -> bool:
        """Whether AutoModel's loader finds a dotted path below nemo_automodel, as far as the schema can tell."""
        home = self.home(path)
        if home in self.data["targets"]:
            return True
        modules: Mapping[str, str] = self.data["modules"]
        parts = home.split(".")
        module = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in modules), "")
        rest = parts[module.count(".") + 1 :]
        # what hangs on a class that has bases elsewhere (from_pretrained) is not known here
        return bool(rest) and rest[0] in modules.get(module, "").split()

    def with_name(self, name: str) -> list[str]:
        """Dotted paths below nemo_automodel that end in that name, those with a signature first."""
        known = [path for path in self.data["targets"] if path.startswith("nemo_") and path.endswith(f".{name}")]
        return known or [f"{module}.{name}" for module, names in self.data["modules"].items() if name in names.split()]


def signature(entry: Mapping[str, Any] | None) -> Signature | None:
    """A signature of the file; None for none."""
    if entry is None:
        return None
    return Signature(
        entry["params"],
        required=tuple(entry.get("required", ())),
        open=entry.get("open", False),
        silent=tuple(entry.get("silent", ())),
        lenient=entry.get("lenient", False),
        of_a_model="maps" in entry,
        maps=entry.get("maps", {}),
        reads=tuple(entry.get("reads", ())),
        strict=entry.get("strict", False),
    )


@functools.cache
def load() -> Schema:
    """The schema; read once, at the first use (a few milliseconds)."""
    path = Path(__file__).with_name(f"automodel-{VERSION}.json")
    return Schema(json.loads(path.read_text(encoding="utf-8")))
