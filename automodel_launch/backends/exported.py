"""Backend `export-check`: loads an export, which trains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automodel_launch import backends
from automodel_launch.backends import Config, Reference
from automodel_launch.backends.data import weights
from automodel_launch.backends.data.facts import TOKENIZER_FILES
from automodel_launch.backends.noise import Noise, of_libraries
from automodel_launch.backends.plain import Plain
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import nearest

_KEYS = ("model", "text", "most")


class Exported(Plain):
    """Implements backends.Backend."""

    def noise(self) -> Noise:
        """What transformers and what it imports print."""
        return of_libraries()

    def references(self, config: Config) -> Iterator[Reference]:
        """The export's directory; recipes/export_check.py takes no hub id."""
        if isinstance(config.get("model"), str):
            yield Reference("model", "model", config["model"], hub=False)

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """Its three keys, and what is loaded of the directory."""
        yield from super().checks(plan)
        yield from _keys(plan)
        yield from _values(plan)
        yield from weights.check(plan, "model", plan.config.get("model"))
        yield from _tokenizer(plan)


def _keys(plan: Plan) -> Iterator[Finding]:
    for key in sorted(set(plan.config) - {*_KEYS, "run"}):
        near = nearest(key, _KEYS)
        message = f"{describe(plan, key)}: the check reads no such key."
        fix = f"did you mean {near}?" if near else f"~{key}; there is {', '.join(_KEYS)}"
        yield Finding("error" if near else "warning", "ignored-key", message, fix)


def _values(plan: Plan) -> Iterator[Finding]:
    """As recipes/export_check.py takes them; `most` may be null."""
    for key in ("model", "text"):
        value = plan.config.get(key)
        if value is None:
            yield Finding("error", "missing-key", f"{key} is not given.", f"{key}=...")
        elif not isinstance(value, str) or not value:
            yield Finding("error", "wrong-type", f"{describe(plan, key)} is no text.", f"{key}=...")
    most: Any = plan.config.get("most")
    if most is None or dotted.left_to_the_job(most):
        return
    if isinstance(most, bool) or not isinstance(most, int | float):
        yield Finding("error", "wrong-type", f"{describe(plan, 'most')} is no number.", "most=12.0, or most=null")
    elif not most > 0:
        message = f"{describe(plan, 'most')}: a loss is above 0, so that every export would be called broken."
        yield Finding("error", "bad-value", message, "most=12.0, or most=null")


def _tokenizer(plan: Plan) -> Iterator[Finding]:
    value = plan.config.get("model")
    names = weights.names_in(weights.seen(plan, value))
    if weights.CONFIG in names and not names & set(TOKENIZER_FILES):
        message = f"{describe_value(plan, 'model', value)}: there is no tokenizer in it."
        yield Finding("error", "no-tokenizer", message, "save one there with tokenizer.save_pretrained(DIR)")


BACKEND: backends.Backend = Exported()
