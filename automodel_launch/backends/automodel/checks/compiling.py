"""torch.compile. What it refuses, AutoModel logs as an error among others, and trains the model uncompiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import schema
from automodel_launch.backends.automodel.schema import kinds
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, nearest

_INDUCTOR = (None, "inductor")


def options(plan: Plan) -> Iterator[Finding]:
    """Its mode, backend and options, where it is switched on."""
    section = plan.config.get("compile")
    if not isinstance(section, Mapping) or not kinds.as_read(section.get("enabled")):
        return
    data = schema.load().data
    mode, backend, inner = (kinds.as_read(section.get(key)) for key in ("mode", "backend", "options"))
    if mode not in (None, "default") and isinstance(inner, Mapping) and inner:
        message = (
            f"{describe_value(plan, 'compile.mode', mode)}: AutoModel {schema.VERSION} stops where there are options."
        )
        yield Finding("error", "bad-value", message, "~compile.mode, or ~compile.options")
    elif backend in _INDUCTOR:
        yield from _refused(plan, "compile.mode", mode, data["values"]["compile.mode"])
    yield from _refused(plan, "compile.backend", backend, data["values"]["compile.backend"], others=True)
    for name in inner if isinstance(inner, Mapping) and backend in _INDUCTOR else ():
        known = data["compile_options"]
        yield from _refused(plan, f"compile.options.{name}", name.replace("-", "_"), known, others=True, is_key=True)


def _refused(
    plan: Plan, key: str, value: Any, known: Iterable[str], others: bool = False, is_key: bool = False
) -> Iterator[Finding]:
    """`others`: there may be others, of a package or another release, unless it looks like a misspelt one."""
    known = list(known)
    if not isinstance(value, str) or value in known or "${" in value:
        return
    written = describe_value(plan, key, plan.config["compile"]["options"][key.rpartition(".")[2]] if is_key else value)
    near = nearest(value, known)
    misspelt = not others or any(alike(value, other) for other in known)
    does = "torch.compile refuses it" if misspelt else f"torch.compile {schema.load().data['torch']} knows no such one"
    message = f"{written}: {does}, and AutoModel {schema.VERSION} would train uncompiled, with an error in the log."
    section, _, leaf = key.rpartition(".")
    fix = f"did you mean {f'{section}.{near}' if is_key else f'{key}={near}'}?" if near else None
    shown = f"~{key}" if is_key or len(known) > 12 else f"{leaf}: {', '.join(known)}"
    yield Finding("error" if misspelt else "warning", "not-compiled", message, fix or shown)


CHECKS = (options,)
