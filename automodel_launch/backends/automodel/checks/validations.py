"""Validation sets: an evaluation has one, each holds a batch, and which of several tells the best checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import (
    datasets,
    distributed,
    evaluation,
    keys,
    loader,
    schema,
    step_scheduler,
)
from automodel_launch.backends.automodel.checks.batch import data_parallel
from automodel_launch.backends.data import rows
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value, override, ranks
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_BEST = "checkpoint.best_metric_key"
_AT_SAVES = "step_scheduler.validate_on_checkpoint"  # without it, and there alone, a save may come without a validation
_OF_NO_PART = (  # keys of a section that do not say which of the data it reads
    *("seq_length", "index_mapping_dir", "tokenizer", "random_seed", "shuffle", "num_workers"),
    *("num_train_samples", "num_val_samples", "num_test_samples", "truncation", "padding", "chat_template"),
)
Section = Mapping[str, Any]
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


def of_the_training(plan: Plan) -> Iterator[Finding]:
    """What is trained on tells nothing about other data: a loss that falls on it may be one that is learnt by heart."""
    trained = plan.config.get("dataset")
    if plan.recipe.name == evaluation.RECIPE or not isinstance(trained, Mapping):
        return
    for name, section in plan.config.items():
        if not name.startswith(keys.VALIDATION) or not isinstance(section, Mapping) or not _same(section, trained):
            continue
        message = f"{describe_value(plan, name, dict(section))} reads what dataset trains on: its loss is not that of"
        fix = "another split, or a file of its own"
        if section.get("splits_to_build") is not None:
            fix = f"{name}.splits_to_build=validation"
        yield Finding("warning", "not-held-out", f"{message} held-out data.", fix)


def _same(section: Section, trained: Section) -> bool:
    """Both name the same data, and nothing says that they are other parts of it."""
    named = [one.get(key) for one in (section, trained) for key in ("paths", "path_or_dataset_id")]
    if named[:2] == [None, None] or dotted.left_to_the_job(named):
        return False
    parts = [{key: value for key, value in one.items() if key not in _OF_NO_PART} for one in (section, trained)]
    whole = datasets.is_megatron(str(section.get("_target_", "")).rpartition(".")[2])
    return parts[0] == parts[1] and (not whole or section.get("splits_to_build") is not None)


def whole_batches(plan: Plan) -> Iterator[Finding]:
    """Of less than a batch on each rank AutoModel reads no token, and tells a loss of 0.0; an evaluation stops."""
    steps, dp = step_scheduler.steps(plan.config), data_parallel(plan)
    if steps is None or dp is None:
        return
    for name, section in plan.config.items():
        if not name.startswith(keys.VALIDATION) or not isinstance(section, Mapping):
            continue
        too_few = _samples if datasets.is_megatron(str(section.get("_target_", "")).rpartition(".")[2]) else _rows
        for message, fix in too_few(plan, name, section, dp, steps.local_batch):
            message = f"{message} ({ranks(plan)}): no whole batch is left, so there will be no validation loss."
            if plan.recipe.name == evaluation.RECIPE:
                yield Finding("error", "no-validation-batch", message, fix)
            else:
                yield Finding("warning", "no-validation-batch", message, fix)


def _samples(plan: Plan, name: str, section: Section, dp: int, local: int) -> Iterator[tuple[str, str]]:
    """Megatron data: what is no whole local batch on every rank is dropped (datasets/llm/megatron/sampler.py)."""
    key, least = f"{name}.num_val_samples", local * dp
    samples = loader.value(plan.config, key)
    if type(samples) is int and 0 < samples < least:
        message = f"{describe(plan, key)} is less than {describe(plan, keys.LOCAL_BATCH)} x {dp} data-parallel ranks ="
        yield f"{message} {least}", override(plan, key, str(least))


def _rows(plan: Plan, name: str, section: Section, dp: int, local: int) -> Iterator[tuple[str, str]]:
    """Conversations: every rank gets as many rows, the rest is dropped (datasets/loader.py: ParallelAwareDataloader);
    pipeline stages take whole local batches."""
    mesh = distributed.mesh(plan.config)
    least = dp * local if mesh and mesh.pp_size > 1 else dp
    found = _counted(plan, section, least)
    if found and found < least:
        where = describe(plan, f"{name}.path_or_dataset_id")
        stages = f"{describe(plan, keys.LOCAL_BATCH)} x " if least > dp else ""
        counted = "1 row is" if found == 1 else f"{found} rows are"
        message = f"{where}: {counted} less than {stages}{dp} data-parallel ranks"
        yield f"{message} = {least}" if stages else message, f"at least {least} rows in it"


def _counted(plan: Plan, section: Section, most: int) -> int | None:
    """Rows of conversations in JSONL files, up to `most`; None where that is not known."""
    if not datasets.reads_conversations(section) or datasets.streams(section):
        return None
    named, found = section.get("path_or_dataset_id"), 0
    for file in named if isinstance(named, list) else [named]:
        counted = rows.count(plan, file, most - found)
        if counted is None:
            return None
        found += counted
    return found


CHECKS = (best_metric, held_out, of_the_training, whole_batches)
