"""Megatron-Bridge's recipes: what each asks for, which classes fill its sections, and the values that it sets."""

from __future__ import annotations

import dataclasses
import inspect
import os
import typing
from pathlib import Path
from typing import Any

from schema_lib import bridge_models, bridge_sections
from schema_lib.bridge_sections import UNKNOWN, plain

_EXAMPLES = {"mixed_precision_recipe": "bf16_with_fp8_current_scaling_mixed"}  # of arguments that a recipe insists on
_SECTIONS = ("model", "dataset", "peft")  # whose class a recipe chooses


def recipes() -> dict[str, dict[str, Any]]:
    """{name: {"module", "mode", "hub", "model", "dataset", "values", ...}} of every exported recipe.

    `values` has every leaf that is not the default of its class, by its dotted key; `failed` is why a recipe does not
    build here.
    """
    import megatron.bridge.recipes as exported

    names = [name for name in dir(exported) if name.endswith("_config") and not name.startswith("_")]
    functions = {name: getattr(exported, name) for name in sorted(names)}
    return {name: _recipe(name, one) for name, one in functions.items() if inspect.isfunction(one)}


def _recipe(name: str, function: Any) -> dict[str, Any]:
    asked: list[str] = []
    entry: dict[str, Any] = {"module": function.__module__, "mode": mode(name), **_arguments(function)}
    required = {argument: _EXAMPLES[argument] for argument in entry.get("required", ())}
    with bridge_models.without_hub(asked):
        try:
            built = function(**required)
        except Exception as error:  # a recipe that a machine without a GPU cannot build
            return {**entry, "failed": f"{type(error).__name__}: {error}"[:200], **_hub(asked)}
    for section in _SECTIONS:
        if dataclasses.is_dataclass(getattr(built, section)):
            entry[section] = type(getattr(built, section)).__name__
    unknown = (
        [f"model.{field}" for field in bridge_models.NEEDED] if asked and asked[0] not in bridge_models.SIZES else []
    )
    values = {key: value for key, value in _values(built) if key not in unknown}
    return {**entry, **_hub(asked), "values": values}


def _hub(asked: list[str]) -> dict[str, str]:
    return {"hub": asked[0]} if asked else {}


def mode(name: str) -> str:
    """As scripts/training/run_recipe.py infers it, in which everything but pretraining is called finetune."""
    return "pretrain" if "pretrain" in name.lower() else "finetune"


def _arguments(function: Any) -> dict[str, Any]:
    """{"arguments": {name: kind}, "required": [...]}, each where there are any; a TypedDict is taken apart."""
    found, required = {}, []
    hints = typing.get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            typed = typing.get_type_hints(typing.get_args(hint)[0])
            found.update({key: bridge_sections.kind(one) for key, one in typed.items()})
        else:
            found[parameter.name] = bridge_sections.kind(hint)
            required += [parameter.name] if parameter.default is parameter.empty else []
    return {
        **({"arguments": dict(sorted(found.items()))} if found else {}),
        **({"required": required} if required else {}),
    }


def _values(config: Any, above: str = "") -> Any:
    defaults = bridge_sections.fields(type(config))
    for field in dataclasses.fields(config):
        value, key = getattr(config, field.name, None), f"{above}{field.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _values(value, f"{key}.")
        else:
            said, default = plain(value), defaults[field.name][1:]
            if said != UNKNOWN and [said] != default and not _of_this_machine(said):
                yield key, said


def _of_this_machine(value: Any) -> bool:
    """Default directories lie below the current one."""
    return isinstance(value, str) and value.startswith((str(Path.cwd()), os.path.expanduser("~")))  # noqa: PTH111
