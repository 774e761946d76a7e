"""recipes/data_prep.py: max_tokens, of the whole blend and the same for any number of workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    config,
    digests,
    documents,
    output,
    prepare,
    write_jsonl,
)


def tokens(out: Path) -> dict[str, int]:
    counts = json.loads((output(out) / "record.json").read_text())["counts"]
    return {name: sum(numbers["tokens"] for numbers in splits.values()) for name, splits in counts.items()}


@pytest.fixture(scope="module")
def two_datasets(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    tmp = tmp_path_factory.mktemp("data")
    large, small = write_jsonl(tmp / "l.jsonl", documents(600)), write_jsonl(tmp / "s.jsonl", documents(300, "s"))
    return [{"name": "l", "path": str(large), "weight": 3}, {"name": "s", "path": str(small), "weight": 1}]


def test_it_is_shared_out_by_weight_and_the_same_for_any_number_of_workers(
    two_datasets: list[dict[str, Any]], tmp_path: Path
) -> None:
    values = config(tmp_path, "", datasets=two_datasets, num_shards=4, max_tokens="20K", output_dir=str(tmp_path / "1"))
    prepare(values | {"workers": 1}, tmp_path)
    prepare(values | {"workers": 3, "output_dir": str(tmp_path / "3")}, tmp_path)
    found = tokens(tmp_path / "1")
    assert 15_000 - 4 <= found["l"] <= 15_000 and 5_000 - 4 <= found["s"] <= 5_000  # a shard may end a token early
    assert digests(tmp_path / "1") == digests(tmp_path / "3")


def test_more_than_there_is_takes_all(two_datasets: list[dict[str, Any]], tmp_path: Path) -> None:
    values = config(tmp_path, "", datasets=two_datasets)
    prepare(values, tmp_path)
    prepare(values | {"max_tokens": "1B", "output_dir": str(tmp_path / "all")}, tmp_path)
    assert tokens(tmp_path / "all") == tokens(tmp_path / "out")


def test_the_last_document_is_cut_and_keeps_its_end(tmp_path: Path) -> None:
    from data_prep_lib.megatron import read_lengths

    data = write_jsonl(tmp_path / "a.jsonl", documents(50))
    whole = config(tmp_path, data, num_shards=1, splits={"train": 1.0})
    prepare(whole, tmp_path)
    prepare(whole | {"max_tokens": 100, "add_bos": True, "output_dir": str(tmp_path / "cut")}, tmp_path)
    lengths = read_lengths(output(tmp_path / "cut") / "train" / "web_00000")
    assert lengths.sum() == 100 and len(lengths) < 50
    ids = (output(tmp_path / "cut") / "train" / "web_00000.bin").read_bytes()
    assert ids[:2] == ids[-2:]  # BOS and EOS are one token here


@pytest.mark.parametrize(
    ("written", "number"),
    [(7, 7), ("10", None), ("500M", 500_000_000), ("2B", 2 * 10**9), ("1.5k", 1500), ("1 TB", 10**12)]
    + [(value, None) for value in (0, True, 2.5, "M", "-2B", "1.0005K", "5Q", "", [1])],
)
def test_forms_of_the_number(written: Any, number: int | None) -> None:
    from data_prep_lib import schema
    from data_prep_lib.errors import ConfigError

    if number is None:
        with pytest.raises(ConfigError, match=r"max_tokens: .* is not valid\n  valid: .*500M"):
            schema.amount("max_tokens", written)
    else:
        assert schema.amount("max_tokens", written) == number
