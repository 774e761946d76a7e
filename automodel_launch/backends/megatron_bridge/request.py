"""What of a config facts are collected about, and what its data hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automodel_launch.backends.data import paths, probe, tokens
from automodel_launch.backends.data.facts import DataFacts, Request
from automodel_launch.backends.data.tokens import Part
from automodel_launch.backends.megatron_bridge import keys, references, settings
from automodel_launch.config import dotted
from automodel_launch.plan.plan import Plan


def of(plan: Plan) -> Request:
    """Data, tokenizers and directories of a plan's config."""
    blend = blend_file(plan.config)
    prefixes = [prefix for key, value in lists(plan.config) for prefix in probe.prefixes(value)]
    known = references.references(plan.config)
    return Request(
        blends=(blend,) if blend and blend.startswith("/") else (),
        pairs=tuple(dict.fromkeys(prefixes)),
        folders=tuple(dict.fromkeys(one.value for one in paths.folders(plan, known))),
        writable=tuple(dict.fromkeys(path for _, path in references.outputs(plan.config))),
        tokenizers=paths.tokenizer_files(plan, [tokenizer(plan)]),
    )


def blend_file(config: Mapping[str, Any]) -> str | None:
    """The blend.json that the recipe is given; None where there is none, or the job knows it only."""
    value = dict(references.data_paths(config)).get(keys.BLEND)
    return value if isinstance(value, str) and not dotted.left_to_the_job(value) else None


def lists(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(key, value) of prefixes that the section `dataset` itself names."""
    found = references.data_paths(config)
    return [(key, value) for key, value in found if key != keys.BLEND and not dotted.left_to_the_job(value)]


def parts(plan: Plan, data: DataFacts) -> list[Part]:
    """The shards that are trained on; none where they are not known here, or something is wrong with them."""
    blend = blend_file(plan.config)
    if blend is None:
        return []
    found = data.about("blends", blend).get("value")
    entries = found.get("train") if isinstance(found, Mapping) else None
    return tokens.of_list(entries.split() if isinstance(entries, str) else entries, data)


def tokenizer(plan: Plan) -> str | None:
    """Directory or hub id of the tokenizer; None where there is none, or the job knows it only."""
    value = next((one.value for one in references.tokenizer(settings.of(plan.config))), None)
    return value if isinstance(value, str) and not dotted.left_to_the_job(value) else None
