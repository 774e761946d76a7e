"""docs/your-own-model.md: the table of sizes is true, and what it says is refused is."""

from __future__ import annotations

import re

import pytest

from automodel_launch.backends.automodel.model import parameters
from automodel_launch.backends.automodel.model.shape import Shape
from tests.conftest import ROOT

TEXT = (ROOT / "docs/your-own-model.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d,]+) \|$", TEXT, re.MULTILINE)
KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def counted(row: tuple[str, ...]) -> int:
    numbers = dict(zip(KEYS, map(int, row[1:6]), strict=True))
    numbers["num_key_value_heads"] = numbers["num_attention_heads"]
    found = parameters.count(Shape("llama", {**numbers, "tie_word_embeddings": True}, ""))
    assert found
    return found.total


def test_there_are_sizes_from_20_million_to_a_billion() -> None:
    assert [row[0] for row in ROWS] == ["20M", "50M", "110M", "350M", "1B"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_parameters_are_those_of_the_sizes(row: tuple[str, ...]) -> None:
    assert row[6] == f"{counted(row):,}"
    assert int(row[2]) % int(row[4]) == 0
    named = float(row[0][:-1]) * (1e9 if row[0].endswith("B") else 1e6)
    assert counted(row) == pytest.approx(named, rel=0.05)
