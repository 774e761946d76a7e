"""Tokenizers and the model that are named by a path, and the tokenizer that made the data."""

from __future__ import annotations

from collections.abc import Iterator

from automodel_launch.backends.automodel import keys as automodel
from automodel_launch.backends.automodel.checks.blends import relative
from automodel_launch.backends.automodel.data import facts as found
from automodel_launch.backends.automodel.data import lineage
from automodel_launch.backends.automodel.data.facts import TOKENIZER_FILES, Found, outside
from automodel_launch.config import dotted
from automodel_launch.plan.describe import written
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def folders(plan: Plan, seen: Found) -> Iterator[Finding]:
    """A directory is there and holds what is loaded from it; what is no path is taken for a hub id."""
    model = automodel.model_place(plan.config)
    for key, value in dict.fromkeys(found.folders(plan)):
        facts, where = seen.facts("folders", value), written(plan, key, value)
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


def of_the_data(plan: Plan, seen: Found) -> Iterator[Finding]:
    """Training uses the tokenizer that made its data: ids of another one train on garbage without an error."""
    for made in lineage.of_plan(plan, seen):
        for key, value in automodel.data_tokenizers(plan.config):
            left = dotted.left_to_the_job(value)
            verdict = "same" if left else lineage.same(made, value, found.tokenizer(plan, value), seen)
            if verdict == "other":
                fix = f"{key}={made.name}, or make the data again with tokenizer={value}"
                message = f"{written(plan, key, value)}: the data {made.data} were made with another, {made.name}."
                yield Finding("error", "other-tokenizer", message, fix)
            elif verdict == "unknown":
                what = f"the data {made.data} were made with {made.name}; they cannot be compared from here"
                message = f"{written(plan, key, value)}: {what}."
                yield Finding("warning", "other-tokenizer", message, f"{key}={made.name}, unless they are the same")
