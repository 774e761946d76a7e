"""Values that AutoModel's loader would change."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


CHECKS = (dollars,)
