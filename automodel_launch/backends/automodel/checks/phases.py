"""Data in phases: they are as long as the run, and nothing beside them says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from automodel_launch.backends.automodel import datasets, keys, phases
from automodel_launch.backends.automodel.data import tokens
from automodel_launch.backends.automodel.data_phases import KEY, PhaseError
from automodel_launch.backends.automodel.schema import Signature
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.config import dotted
from automodel_launch.plan.describe import amount, describe, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_ORDER = "dataloader.dataloader_type"
_BUILDS = "pretrain_lib"  # what builds them; AutoModel's own class does not know them


def with_phases(signature: Signature) -> Signature:
    """What the section takes with them: no `paths`, and `phases`, which `lengths` reads."""
    required = tuple(name for name in signature.required if name != "paths")
    without = f"null|{signature.params.get('paths', 'list|map|str')}"  # `paths: null` in a config that inherits them
    return replace(signature, params={**signature.params, "phases": "", "paths": without}, required=required)


def lengths(plan: Plan) -> Iterator[Finding]:
    """Their form, and the sum of their lengths."""
    try:
        phases.planned(plan.config)
    except PhaseError as error:
        message = f"{error.key} ({source(plan, error.key)}): {error.message}."
        yield Finding("error", "data-phases", message, error.fix)


def alone(plan: Plan) -> Iterator[Finding]:
    """What cannot stand beside them, and what has no effect."""
    if not phases.are_given(plan.config):
        for key in plan.config:
            if str(key).startswith(keys.VALIDATION) and dotted.get(plan.config, f"{key}.phases") is not None:
                message = f"{key}.phases ({source(plan, f'{key}.phases')}): only `dataset` has phases."
                yield Finding("error", "data-phases", message, f"~{key}.phases, and +{key}.paths=...")
        return
    kind = next((kind for key, kind, _ in datasets.datasets(plan.config) if key == "dataset"), "")
    if not datasets.is_megatron(kind):
        message = f"{KEY} ({source(plan, KEY)}): only {datasets.MEGATRON_DATASET} has phases,"
        yield Finding("error", "data-phases", f"{message} and {describe(plan, 'dataset._target_')}.", f"~{KEY}")
    elif _BUILDS not in plan.recipe.code:
        message = (
            f"{KEY} ({source(plan, KEY)}): AutoModel does not know phases, and the recipe {plan.recipe.name} leaves"
        )
        yield Finding("error", "data-phases", f"{message} its data to it.", "python launch.py pretrain")
    if dotted.get(plan.config, "dataset.paths") is not None:
        message = f"{describe(plan, 'dataset.paths')} is not used: {KEY} ({source(plan, KEY)}) names the data."
        yield Finding("error", "data-phases", message, "~dataset.paths")
    if dotted.get(plan.config, _ORDER) not in (None, "single"):
        message = f"{describe(plan, _ORDER)} shuffles all phases together."
        yield Finding("error", "data-phases", message, f"{_ORDER}=single")
    if dotted.get(plan.config, keys.TRAIN_SAMPLES) is not None:
        message = (
            f"{describe(plan, keys.TRAIN_SAMPLES)} is not used: the order of data in phases does not depend on it."
        )
        yield Finding("note", "data-phases", message, f"~{keys.TRAIN_SAMPLES}")


def samples(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Each prefix has a sample at least: in phases it is a stream of whole epochs, never made longer."""
    sequence = datasets.sequence(plan.config)
    for phase in phases.known(plan.config) if sequence else ():
        whole = {**plan.config, "dataset": {**plan.config["dataset"], "split": "1,0,0"}}  # all of a prefix, at most
        for part in tokens.of_phase(whole, phase, data):
            if sequence and part.tokens <= sequence[1]:
                key = f"{KEY}.{phase.name}.paths"
                message = (
                    f"{key} ({source(plan, key)}): {part.name} holds {amount(part.tokens)} tokens, and a sample of"
                    f" {describe(plan, sequence[0])} takes one more than that."
                )
                fix = f"leave it out, or {sequence[0]} below {int(part.tokens)}"
                yield Finding("error", "data-phases", message, fix)


CHECKS = (lengths, alone)
