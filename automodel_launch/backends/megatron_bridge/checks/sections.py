"""Sections and fields: there are such, and their values are of their kinds.

Megatron-Bridge itself takes any value for any field, and passes a name that it does not know over with a warning in the
log; recipes/bridge_lib refuses both when the job starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.megatron_bridge import keys, schema, settings
from automodel_launch.backends.megatron_bridge.schema import Field, kinds
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed, nearest

_SHOWN = 10
_OF_THE_RECIPE = ("model", "dataset", "peft")  # sections whose class a recipe chooses
_PER_SPLIT = ("blend", "blend_per_split")


def known_sections(plan: Plan) -> Iterator[Finding]:
    """Keys at the top level: the script's own, and the sections of ConfigContainer."""
    known = [*keys.OWN, *schema.load().sections]
    for name, value in plan.config.items():
        if name in known:
            continue
        inside = next((one for one in schema.load().sections if name in _fields(plan, one)), None)
        near = nearest(str(name), known)
        meant = f"did you mean {near}?" if near else f"{inside}.{name}" if inside else f"sections: {', '.join(known)}"
        message = f"{describe_value(plan, str(name), value)}: Megatron-Bridge's ConfigContainer has no such section."
        yield Finding("error", "unknown-key", message, meant)


def fields(plan: Plan) -> Iterator[Finding]:
    """What stands in each section."""
    for name, value in plan.config.items():
        if name in schema.load().sections and not dotted.left_to_the_job(value if isinstance(value, str) else ""):
            yield from _section(plan, name, value)


def _section(plan: Plan, name: str, value: Any) -> Iterator[Finding]:
    entry = schema.load().sections[name]
    if isinstance(value, Mapping):
        if keys.TARGET not in value:
            yield from _inside(plan, name, value, _fields(plan, name))
    elif value is None and not entry.get("null"):
        message = f"{name} = null ({source(plan, name)}): Megatron-Bridge needs the section."
        yield Finding("error", "wrong-type", message, f"~{name}, which leaves it to the recipe")
    elif isinstance(value, str) and entry.get("str"):
        yield from _named(plan, name, value)
    elif value is not None:
        message = f"{describe_value(plan, name, value)} is not a mapping."
        yield Finding("error", "wrong-type", message, f"{name}: {{KEY: VALUE}}")


def _named(plan: Plan, name: str, value: str) -> Iterator[Finding]:
    texts = schema.load().data["values"].get(name, [])
    if texts and value.replace("-", "_") not in texts:
        message = f"{describe_value(plan, name, value)}: Megatron-Bridge {schema.VERSION} knows {', '.join(texts)}."
        yield Finding("error", "bad-value", message, f"{name}={completed(value, texts) or texts[0]}")


def _inside(plan: Plan, above: str, values: Mapping[str, Any], known: Mapping[str, Field]) -> Iterator[Finding]:
    for name, value in values.items():
        key = f"{above}.{name}"
        if name not in known and not _of_recipe(plan, key):
            if above not in _OF_THE_RECIPE or settings.of(plan.config).recipe:  # else its class may be one's own
                yield _unknown(plan, key, value, above, list(known))
        elif above != "dataset" or name not in _PER_SPLIT:
            yield from _value(plan, key, value, known[name].kind if name in known else "")


def _value(plan: Plan, key: str, value: Any, kind: str) -> Iterator[Finding]:
    inner = schema.load().inner(kind)
    if isinstance(value, Mapping) and inner and keys.TARGET not in value:
        yield from _inside(plan, key, value, schema.load().fields(inner))
    elif not kinds.fits(value, kind) and not _like_the_recipes(plan, key, value, kind):
        texts = kinds.literals(kind)
        if texts and isinstance(value, str):
            message = f"{describe_value(plan, key, value)}: Megatron-Bridge {schema.VERSION} knows {', '.join(texts)}."
            yield Finding("error", "bad-value", message, f"{key}={completed(value, texts) or texts[0]}")
        else:
            message = f"{describe_value(plan, key, value)} is not {kinds.words(kind)}."
            yield Finding("error", "wrong-type", message, kinds.example(key, value, kind))


def _of_recipe(plan: Plan, key: str) -> bool:
    """The recipe sets it, in a class of which the annotation names only the base."""
    recipe = settings.of(plan.config).recipe
    return recipe is not None and (key in recipe.values or any(one.startswith(f"{key}.") for one in recipe.values))


def _like_the_recipes(plan: Plan, key: str, value: Any, kind: str) -> bool:
    """Not of the annotated kind, but as what the recipe has there itself: `manual_gc_eval: 100`, of bool."""
    recipe = settings.of(plan.config).recipe
    if recipe is None:
        return False
    if value is None:
        return key in recipe.values and recipe.values[key] is None
    return kinds.is_plain(kind) and type(value) is type(Settings({}, recipe).value(key))


def _unknown(plan: Plan, key: str, value: Any, section: str, known: list[str]) -> Finding:
    name = key.rpartition(".")[2]
    near = nearest(name, known)
    elsewhere = [] if near else [one for one in schema.load().sections if name in _fields(plan, one)]
    shown = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    fix = f"did you mean {section}.{near}?" if near else f"{section} takes {shown or 'nothing'}"
    fix = f"{elsewhere[0]}.{name}" if elsewhere else fix
    message = (
        f"{describe_value(plan, key, value)}: {section} has no field '{name}'; Megatron-Bridge passes it over with a"
    )
    return Finding("error", "unknown-key", f"{message} warning in the log, and our script refuses it.", fix)


def takes(config: Mapping[str, Any], key: str) -> bool:
    """The key is a section or a field of one."""
    section, _, name = key.rpartition(".")
    if not section:
        return key in (*keys.OWN, *schema.load().sections)
    return section in schema.load().sections and name in _fields_of(config, section)


def _fields(plan: Plan, section: str) -> Mapping[str, Field]:
    return _fields_of(plan.config, section)


def _fields_of(config: Mapping[str, Any], section: str) -> Mapping[str, Field]:
    """Fields of the class that the recipe gives the section; where that is not known, of all that it may have."""
    recipe = settings.of(config).recipe
    given = dotted.get(config, f"{section}.{keys.TARGET}")
    classes = [] if given else schema.load().classes(section, recipe)
    found: dict[str, Field] = {}
    for name, field in schema.fields_of(classes):
        other = found.get(name)
        kind = field.kind if other is None or other.kind == field.kind else ""
        found[name] = Field(kind, field.default)
    return found


CHECKS = (known_sections, fields)
