"""Tokenizers and the model that are named by a path, and the tokenizer that made the data."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import datasets
from automodel_launch.backends.automodel.checks.blends import relative
from automodel_launch.backends.automodel.data import facts as facts_
from automodel_launch.backends.automodel.data import lineage
from automodel_launch.backends.automodel.data.facts import TOKENIZER_FILES, DataFacts, outside
from automodel_launch.backends.automodel.model import section
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def folders(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """A directory exists and holds what is loaded from it; what is no path is taken for a hub id."""
    model = section.place(plan.config)
    for key, value in dict.fromkeys(facts_.folders(plan)):
        facts, where = data.about("folders", value), describe_value(plan, key, value)
        if not value.startswith(("/", "~")) and facts.get("missing") is None:
            yield relative(where, value)
        elif "elsewhere" in facts:
            continue
        elif (key, value) == model:
            if facts.get("missing"):
                message = f"{where}: no such directory{outside(plan, value)}."
                yield Finding("error", "no-model", message, "give a directory or a hub id")
            elif "config.json" not in facts["names"]:
                message = f"{where}: there is no config.json in it."
                yield Finding("error", "no-model", message, "a directory that save_pretrained or a download has made")
        elif facts.get("missing"):
            message = f"{where}: no such directory{outside(plan, value)}."
            yield Finding("error", "no-tokenizer", message, "give a directory or a hub id")
        elif not set(TOKENIZER_FILES) & set(facts["names"]):
            fix = "save one there with tokenizer.save_pretrained(DIR)"
            yield Finding("error", "no-tokenizer", f"{where}: there is no tokenizer.json in it.", fix)


def of_the_data(plan: Plan, data: DataFacts) -> Iterator[Finding]:
    """Training uses the tokenizer that made its data: with another one the ids mean nothing, and no error says so."""
    for recorded in lineage.of_plan(plan, data):
        for key, value in datasets.data_tokenizers(plan.config):
            left = dotted.left_to_the_job(value)
            file = facts_.tokenizer_file(plan, value)
            verdict = "same" if left else lineage.compare(recorded, value, file, data)
            message = f"{describe_value(plan, key, value)}: the data {recorded.data} were made with"
            if verdict == "other":
                fix = f"{key}={recorded.name}, or make the data again with tokenizer={value}"
                yield Finding("error", "other-tokenizer", f"{message} another, {recorded.name}.", fix)
            elif verdict == "unknown":
                message = f"{message} {recorded.name}; they cannot be compared from here."
                fix = f"{key}={recorded.name}, unless they are the same"
                yield Finding("warning", "other-tokenizer", message, fix)
