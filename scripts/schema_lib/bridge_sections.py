"""The sections of Megatron-Bridge's ConfigContainer, from its dataclasses: fields, kinds and defaults."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from schema_lib import bridge_models

_PLAIN = {int: "int", float: "float", bool: "bool", str: "str", type(None): "null"}
_LISTS, _MAPS = (list, tuple, set, frozenset), (dict,)
UNKNOWN = "?"  # a default that no YAML has: an object, or one that is made anew each time

Entry = dict[str, Any]


def container() -> dict[str, Any]:
    """{section: {"classes": [...], "null": True where the section may be null}}."""
    from megatron.bridge.training.config import ConfigContainer

    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(ConfigContainer).items():
        parts = _alternatives(hint)
        classes = [one.__name__ for one in parts if dataclasses.is_dataclass(one)]
        if classes:
            found[name] = {"classes": classes, **{key: True for key, kind in _ALSO.items() if kind in parts}}
    return dict(sorted(found.items()))


_ALSO = {"null": type(None), "str": str}


def classes(named: Iterable[str]) -> dict[str, Entry]:
    """{class: {field: [kind, default]}} of the container's sections, and of the classes that recipes give them.

    Of a provider only what is not as in the class that it is made from: `from` names that one.
    """
    from megatron.bridge.training import config

    roots = [one for hint in typing.get_type_hints(config.ConfigContainer).values() for one in _alternatives(hint)]
    found: dict[str, type[Any]] = {}
    for one in roots:
        _collect(one, found)
    known = {**bridge_models.providers(), **{name: getattr(config, name) for name in dir(config)}}
    for name in sorted(set(named) - set(found)):
        _collect(known.get(name) or _elsewhere(name), found)
    entries = {name: fields(one) for name, one in sorted(found.items())}
    base = entries["GPTModelProvider"]
    for name, entry in entries.items():
        if name != "GPTModelProvider" and "tensor_model_parallel_size" in entry:
            entries[name] = {"from": "GPTModelProvider", "without": sorted(set(base) - set(entry))} | {
                field: value for field, value in entry.items() if base.get(field) != value
            }
    return entries


def _elsewhere(name: str) -> type[Any]:
    import megatron.bridge.data.builders.hf_dataset as hf_dataset
    import megatron.bridge.data.vlm_datasets as vlm
    import megatron.bridge.peft.dora as dora
    import megatron.bridge.peft.lora as lora

    return next(getattr(module, name) for module in (hf_dataset, vlm, lora, dora) if hasattr(module, name))


def _collect(one: Any, found: dict[str, type[Any]]) -> None:
    if not (isinstance(one, type) and dataclasses.is_dataclass(one)) or one.__name__ in found:
        return
    found[one.__name__] = one
    for hint in _hints(one).values():
        for inner in _alternatives(hint):
            _collect(inner, found)


def fields(one: type[Any]) -> Entry:
    """{field: [kind, default]} of a dataclass; a field without a default has a kind only."""
    hints = _hints(one)
    found = {}
    for field in dataclasses.fields(one):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        given = [] if default is dataclasses.MISSING else [plain(default)]
        found[field.name] = [kind(hints.get(field.name, field.type)), *given]
    if isinstance(getattr(one, "seq_length", None), property):  # GPTDatasetConfig's other name of sequence_length
        found["seq_length"] = ["int"]
    return found


def _hints(one: type[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(one)
    except (NameError, AttributeError):  # a name that only type checkers import
        return {}


def plain(value: Any) -> Any:
    """A default as JSON data; UNKNOWN where it is no such."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, PurePath) or type(value).__module__ == "torch":
        return str(value)
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, list | tuple | dict):
        try:
            return json.loads(json.dumps(value))
        except TypeError:
            return UNKNOWN
    return UNKNOWN


def kind(hint: Any) -> str:
    """A hint in the words of backends/kinds.py: alternatives joined by `|`; empty where anything may do."""
    found = [_kind(part) for part in _alternatives(hint)]
    flat = sorted({word for words in found if words for word in words})
    return "" if any(words is None for words in found) else "|".join(flat)


def _kind(part: Any) -> list[str] | None:
    if typing.get_origin(part) is typing.Literal:
        return [f"'{value}'" if isinstance(value, str) else str(value) for value in typing.get_args(part)]
    bare = typing.get_origin(part) or part
    if bare in _PLAIN:
        return [_PLAIN[bare]]
    if not isinstance(bare, type):
        return None
    if issubclass(bare, enum.Enum):
        return [f"'{member.name}'" for member in bare]
    if dataclasses.is_dataclass(bare):
        return [f"@{bare.__name__}"]
    if issubclass(bare, Path):
        return ["str"]
    if bare.__name__ == "dtype":
        return ["dtype"]
    groups = (("list", _LISTS), ("map", _MAPS))
    return next(([word] for word, types_ in groups if issubclass(bare, types_)), None)


def _alternatives(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(hint) for part in _alternatives(one)]
    return [hint]


def values() -> dict[str, list[str]]:
    """Names that some keys take, whatever their annotation says."""
    from megatron.bridge.training.mixed_precision import MIXED_PRECISION_RECIPES

    return {"mixed_precision": sorted({name.replace("-", "_") for name in MIXED_PRECISION_RECIPES})}


def step_functions() -> list[str]:
    """Modules of megatron.bridge.training with a forward step: what `step_func` names."""
    import megatron.bridge.training as training

    return sorted(path.stem for place in training.__path__ for path in Path(place).glob("*_step.py"))
