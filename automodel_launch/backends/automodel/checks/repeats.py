"""An evaluation that is asked for more samples than its held-out data hold reads some of them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends.automodel import datasets, evaluation, keys, loader
from automodel_launch.backends.automodel.data import tokens
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.data.tokens import epochs as times_read
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, describe, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_USE = "validation"
_LENGTH = 2048  # MegatronPretraining's default


def held_out(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Megatron data start again without a message where num_val_samples is more than they hold."""
    if plan.recipe.name != evaluation.RECIPE:
        return
    for name, section in plan.config.items():
        kind = str(section.get("_target_", "")).rpartition(".")[2] if isinstance(section, Mapping) else ""
        if not name.startswith(keys.VALIDATION) or not datasets.is_megatron(kind) or dotted.left_to_the_job(section):
            continue
        key = f"{name}.num_val_samples"  # of the other splits other keys tell the samples
        samples, given = loader.value(plan.config, key), loader.value(plan.config, f"{name}.seq_length")
        length = _LENGTH if given is None else given
        parts = tokens.megatron(section, data, _USE) if section.get("splits_to_build", _USE) == _USE else []
        if not parts or type(samples) is not int or type(length) is not int:
            continue
        times = times_read(parts, samples * length)
        if times > 1:
            holds = amount(sum(part.tokens for part in parts))
            message = (
                f"{describe(plan, key)} x {length} tokens, and {name} holds {holds}: it is read {times:.1f} times."
            )
            fix = f"{override(plan, key, max(1, int(samples / times)))} to read it once"
            yield Finding("note", "held-out-repeats", message, fix)
