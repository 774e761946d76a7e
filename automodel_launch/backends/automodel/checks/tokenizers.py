"""Tokenizers and the model that are named by a path, and the tokenizer that made the data."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets, references
from automodel_launch.backends.automodel.data.request import tokenizer_file
from automodel_launch.backends.data import lineage, paths
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def folders(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """A directory exists and holds what is loaded from it."""
    return paths.check_folders(plan, references.references(plan.config), data)


def of_the_data(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Training uses the tokenizer that made its data: with another one the ids mean nothing, and no error says so."""
    for recorded in lineage.of_plan(plan, data):
        for key, value in datasets.data_tokenizers(plan.config):
            left = dotted.left_to_the_job(value)
            verdict = "same" if left else lineage.compare(recorded, value, tokenizer_file(plan, value), data)
            message = f"{describe_value(plan, key, value)}: the data {recorded.data} were made with"
            if verdict == "other":
                fix = f"{key}={recorded.name}, or make the data again with tokenizer={value}"
                yield Finding("error", "other-tokenizer", f"{message} another, {recorded.name}.", fix)
            elif verdict == "unknown":
                message = f"{message} {recorded.name}; they cannot be compared from here."
                fix = f"{key}={recorded.name}, unless they are the same"
                yield Finding("warning", "other-tokenizer", message, fix)
