"""Checks of files that a config names, from one probe a plan: on this machine, or by a question to the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.data import facts, lineage, pairs, paths
from automodel_launch.backends.data.blends import PREPARE, Use, entries, in_file
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.tokens import epochs, most_read
from automodel_launch.backends.megatron_bridge import keys, model, references, request, settings, training
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, in_epochs, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

SPLITS = ("train", "valid", "test")
_OF_TRANSFORMERS_5 = "TokenizersBackend"
EPOCHS = 4  # up to which repeated data are nearly as good as new ones (Muennighoff et al. 2023, arXiv 2305.16264)


def mock(plan: Plan) -> Iterator[Finding]:
    """Without a blend the data set makes its samples up, and the training runs all the same."""
    known = settings.of(plan.config)
    if known.recipe is None or known.recipe.classes.get("dataset") != "GPTDatasetConfig":
        return
    own = dotted.has(plan.config, f"dataset.{keys.TARGET}")
    if not own and not list(references.data_paths(plan.config)) and dotted.get(plan.config, "dataset.mock") is not True:
        message = "the config names no data: Megatron-Bridge trains on samples that it makes up."
        fix = f"+{keys.BLEND}=PATH of a blend.json, or +dataset.mock=true if that is meant"
        fix = (
            fix
            if isinstance(plan.config.get(keys.RECIPE), Mapping)
            else fix.replace("+recipe.", "recipe: {_target_: ...,} with ")
        )
        yield Finding("warning", "mock-data", message, fix)


def blend(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """The blend, and every pair that it names."""
    yield from pairs.check(plan, _named(plan, data), data)


def _named(plan: Plan, data: DataFacts) -> Iterator[Use | Finding]:
    for key, value in references.data_paths(plan.config):
        where = f"{key} ({source(plan, key)})"
        if dotted.left_to_the_job(value):
            continue
        if key == keys.BLEND:
            yield from in_file(plan, value, data, where, _content) if isinstance(value, str) else ()
        elif isinstance(value, list):
            yield from _written(value, where)
        else:
            yield Finding("error", "bad-blend", f"{where}: {value!r} is no list of prefixes.", f"{keys.BLEND}=PATH")


def _written(value: list[Any], where: str) -> Iterator[Use | Finding]:
    """`blend` of a data set is [prefixes, weights or null], `blend_per_split` such a pair, or null, for each split."""
    nested = [part for part in value if isinstance(part, list)]
    if not nested:
        message = f"{where}: a flat list; Megatron-Bridge takes [[PREFIX, ...], [WEIGHT, ...]] there."
        yield Finding("error", "bad-blend", message, f"{keys.BLEND}=PATH of a blend.json")
        return
    for pair in [value] if isinstance(value[0], list) and all(isinstance(one, str) for one in value[0]) else nested:
        prefixes = pair[0] if pair and isinstance(pair[0], list) else pair
        yield from entries([one for one in prefixes if isinstance(one, str)], where)


def _content(value: Any, where: str) -> Iterator[Use | Finding]:
    if not isinstance(value, dict) or not value:
        fix = '{"train": ["1.0", PREFIX], "valid": [...]}; data-prep writes it'
        yield Finding("error", "bad-blend", f"{where}: it holds no lists by split.", fix)
    else:
        yield from _splits(value, where)


def _splits(value: Mapping[str, Any], where: str) -> Iterator[Use | Finding]:
    if not value.get("train"):
        yield Finding("error", "no-split", f"{where}: there are no training data in it (train).", PREPARE)
    for split, names in value.items():
        if split not in SPLITS:
            fix = f"splits: {', '.join(SPLITS)}"
            yield Finding("error", "bad-blend", f"{where}: '{split}' is not a split of Megatron-Bridge's.", fix)
        elif names is None or names == []:
            continue  # recipes/bridge_lib makes null of it, which means that there is no such split
        elif isinstance(names, str):
            yield from entries(names.split(), f"{where}: {split}")
        elif isinstance(names, list):
            yield from entries(names, f"{where}: {split}")
        else:
            yield Finding("error", "bad-blend", f"{where}: {split}: is no list.", '["1.0", PREFIX]')


def validation(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Validation is asked for, and the data have none: it is left out without a message."""
    known, path = settings.of(plan.config), request.blend_file(plan.config)
    value = data.about("blends", path).get("value") if path else None
    rounds = known.number(keys.EVAL_ITERS)
    if (
        isinstance(value, dict)
        and value.get("train")
        and not value.get("valid")
        and rounds
        and known.written(keys.EVAL_ITERS)
    ):
        message = f"{told(plan, known, keys.EVAL_ITERS)}, and {path} has no split `valid`: nothing is validated."
        yield Finding("warning", "no-split", message, f"{keys.EVAL_ITERS}=0, or data with that split")


def tokenizers(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """The tokenizer's directory, the directory of a Hugging Face config, and the tokenizer that made the data."""
    yield from paths.check_folders(plan, references.references(plan.config), data)
    value = request.tokenizer(plan)
    if value and data.about("folders", value).get("tokenizer_class") == _OF_TRANSFORMERS_5:
        message = f"{told(plan, settings.of(plan.config), keys.TOKENIZER)}: transformers 5 has saved it, as the class"
        message += f" {_OF_TRANSFORMERS_5}, which transformers 4 does not have; Megatron-Bridge needs that."
        fix = f'"tokenizer_class": "PreTrainedTokenizerFast" in {value.rstrip("/")}/tokenizer_config.json'
        yield Finding("error", "no-tokenizer", message, fix)
    if value:
        where = told(plan, settings.of(plan.config), keys.TOKENIZER)
        yield from lineage.check(plan, data, keys.TOKENIZER, value, where)


def vocabulary(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Every id is below the model's vocab_size, where a Hugging Face config of the run's own or `model:` says it."""
    known = settings.of(plan.config)
    size = model.integer(known, "vocab_size", plan.visible)
    if size is None or not (known.written("model.vocab_size") or model.replaced(known)):
        return
    beyond = [(one["high"], name) for name, one in data.answer.get("pairs", {}).items() if one.get("high", 0) >= size]
    if beyond:
        highest, name = max(beyond)
        message = f"{name} holds the id {highest:,}, and the model has vocab_size = {size:,}."
        yield Finding(
            "error", "vocabulary", message, "the tokenizer of this model for the data, or a larger vocab_size"
        )


def repeated(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """How often the data are read."""
    parts, steps, step = (
        request.parts(plan, data),
        training.iterations(plan.config),
        training.tokens_per_step(plan.config),
    )
    if not parts or not steps or not step or steps < 1:
        return
    wanted = steps * step
    times = epochs(parts, wanted)
    if times > 1:
        worst = f" (most often {most_read(parts, wanted).name})" if len(parts) > 1 else ""
        message = (
            f"the run trains on {amount(wanted)} tokens, and the data hold {amount(sum(one.tokens for one in parts))}:"
        )
        known = settings.of(plan.config)
        fix = f"more data, or fewer steps ({told(plan, known, keys.ITERS)})" if times > EPOCHS else None
        text = f"{message} {in_epochs(times)}{worst}."
        yield Finding("warning" if times > EPOCHS else "note", "epochs", text, fix)


def writable(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Directories that the training writes."""
    for key, path in references.outputs(plan.config):
        message = paths.unwritable(plan, key, path, data)
        if message is None:
            continue
        if key == keys.INDEX:
            yield Finding("error", "index-dir", message, f"~{key}; the index is in the run's directory then")
        else:
            yield Finding(
                "error", "checkpoint-dir", message, f"{key}=${{run.dir}}/{key.rpartition('.')[2]}, or another one"
            )


LOOK = facts.Look(request.of, (blend, validation, tokenizers, vocabulary, repeated, writable))

CHECKS = (mock, LOOK.here)
