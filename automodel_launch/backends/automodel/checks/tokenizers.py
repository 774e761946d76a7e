"""Tokenizers and the model that are named by a path, and the tokenizer that made the data."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets, references
from automodel_launch.backends.data import lineage, paths
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def folders(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """A directory exists and holds what is loaded from it."""
    return paths.check_folders(plan, references.references(plan.config), data)


def of_the_data(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Each is the one that made the data."""
    for key, value in datasets.data_tokenizers(plan.config):
        yield from lineage.check(plan, data, key, value, describe_value(plan, key, value))
