"""Keys at which AutoModel's loader stops, and values that it would change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import schema
from automodel_launch.config.dotted import flatten
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_DOLLAR = re.compile(r"\$[A-Za-z_]\w*|\$\{(?!oc\.env:)[^}]+\}")


def dollars(plan: Plan) -> Iterator[Finding]:
    """AutoModel 0.7.0 reads `$NAME` inside any string as an environment variable, and stops where it is not set."""
    for key, value in flatten(plan.config):
        names = _DOLLAR.findall(str(value)) if "$" in str(value) else []
        if names:
            source = plan.provenance.get(key, plan.config_name)
            yield Finding(
                "warning",
                "dollar",
                f"{key} = {value!r} ({source}): AutoModel reads {names[0]} as an environment variable of the job.",
                f"write ${{oc.env:{names[0].strip('${}')}}} if it is one;"
                " there is no way to write a plain '$' before a letter",
            )


def names(plan: Plan) -> Iterator[Finding]:
    """The loader looks how every key ends (ConfigNode._wrap), which only a string can be asked."""
    for key, name in _other_names(plan.config, ""):
        source = plan.provenance.get(key, plan.config_name)
        message = (
            f"{key} ({source}): the key {name!r} is not a string, and AutoModel {schema.VERSION} stops at it when it"
            " loads the config."
        )
        yield Finding("error", "wrong-type", message, f"quote it: '{str(name).lower()}': ...")


def _other_names(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(dotted key, last part) of each key that is not a string, in mappings and lists of any depth."""
    entries: Any = node.items() if isinstance(node, Mapping) else ()
    if isinstance(node, list | tuple):
        entries = ((str(number), inner) for number, inner in enumerate(node))
    for name, inner in entries:
        below = f"{key}.{name}" if key else str(name)
        if not isinstance(name, str):
            yield below, name
        yield from _other_names(inner, below)


CHECKS = (dollars, names)
