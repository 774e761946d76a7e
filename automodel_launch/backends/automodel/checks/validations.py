"""Validation sets: an evaluation has one, and which of several tells the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends.automodel import datasets, evaluation, keys, loader, schema
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_BEST = "checkpoint.best_metric_key"
_AT_SAVES = "step_scheduler.validate_on_checkpoint"  # without it, and there alone, a save may come without a validation
_DEFAULT, _WEIGHTED = "default", "weighted"  # WEIGHTED_AGGREGATE_NAME of components/training/domain_mixture.py


def best_metric(plan: Plan) -> Iterator[Finding]:
    """AutoModel looks the name up where it saves after a validation, hours into the run: a KeyError ends it there.

    Of a single set the name is never looked at (recipes/base_recipe.py, save_checkpoint).
    """
    config = plan.config
    if schema.load().top(loader.recipe_class(config)) is None or dotted.get(config, _AT_SAVES) is False:
        return
    names = [_name(key) for key, section in config.items() if key.startswith(keys.VALIDATION) and section is not None]
    mixed = config.get("domain_mixture") is not None
    wanted = dotted.get(config, _BEST) if dotted.has(config, _BEST) else _WEIGHTED if mixed else _DEFAULT
    known = [*names, *([_WEIGHTED] if mixed else [])]
    if len(known) < 2 or wanted in known or not isinstance(wanted, str) or "${" in wanted or _is_off(config):
        return
    written = describe_value(plan, _BEST, wanted) if dotted.has(config, _BEST) else f"{_BEST} is {wanted!r} by default"
    message = f"{written}: no validation set has that name, so AutoModel {schema.VERSION} stops when it saves."
    yield Finding("error", "bad-value", message, f"{_BEST}={known[0]} (there are {', '.join(known)})")


def _name(key: str) -> str:
    """As RecipeConfig.validation_dataloaders has it."""
    rest = key.replace(keys.VALIDATION, "")
    return (rest[1:] if len(rest) > 1 and rest[0] in "_-." else rest) or _DEFAULT


def _is_off(config: Mapping[str, object]) -> bool:
    return dotted.get(config, "checkpoint.enabled") is False


def held_out(plan: Plan) -> Iterator[Finding]:
    """An evaluation without held-out data would read nothing, and end as one that has."""
    if plan.recipe.name == evaluation.RECIPE and not datasets.validates(plan.config):
        message = f"an evaluation reads every section {keys.VALIDATION}..., and the config has none."
        yield Finding("error", "no-data", message, f"+{keys.VALIDATION}={{_target_: ..., paths: ...}}")


CHECKS = (best_metric, held_out)
