"""A model's config by its class: which keywords it takes, which it knows by another name, which nothing reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.backends.automodel.checks.keys import ignored, kind, silent
from automodel_launch.backends.automodel.schema import Signature
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def keywords(plan: Plan, key: str, section: Mapping[str, Any], taken: Signature) -> Iterator[Finding]:
    """Each keyword of the section at `key`, whose `_target_` is a class that `taken` describes.

    transformers keeps any keyword as an attribute: what no model reads changes nothing, and is not refused.
    """
    shared = schemas.load().data["configs"]
    read = {*taken.params, *taken.maps, *taken.maps.values(), *taken.reads, *shared["reads"]}
    for name, value in section.items():
        own = taken.maps.get(name, name)
        if own in taken.params:
            yield from kind(plan, f"{key}.{name}", value, taken.params[own], strict=taken.strict)
        elif name == "_target_" or name.startswith("_") or name in read:
            continue
        elif name in shared["ignores"]:
            yield silent(plan, f"{key}.{name}", value)
        else:
            yield ignored(plan, f"{key}.{name}", value, read, f"in {section['_target_']}", shown=taken.params)
