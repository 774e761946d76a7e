"""recipes/data_prep.py: hf:// datasets, from a directory and streamed from a hub (one of this machine's own)."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
from tests.recipes.fake_hub import Hub  # type: ignore[import-not-found, unused-ignore]
from tests.recipes.served import COMMIT

CARD = """---
configs:
- config_name: small
  data_files: [{split: train, path: "small/*.parquet"}, {split: test, path: "small-test.parquet"}]
- config_name: large
  data_files: [{split: train, path: "large/*.jsonl"}]
  default: true
---
"""


def make_dataset(root: Path) -> list[str]:
    """A dataset with two subsets; the texts of small/train, each beside a column that is much larger."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, noise = documents(240), random.Random(1)
    (root / "small").mkdir(parents=True)
    (root / "README.md").write_text(CARD)
    for i in range(2):
        half = texts[120 * i : 120 * (i + 1)]
        table = pa.table({"id": [noise.randbytes(40_000) for _ in half], "text": half})
        pq.write_table(table, root / "small" / f"part-{i}.parquet", row_group_size=30)
    pq.write_table(pa.table({"text": documents(20, "test")}), root / "small-test.parquet")
    write_jsonl(root / "large" / "a.jsonl", documents(100, "large"))
    return texts


def values(tmp: Path, path: str, **dataset: Any) -> dict[str, Any]:
    return config(tmp, "", datasets=[{"name": "web", "path": path, **dataset}])


def run(
    values: dict[str, Any], tmp: Path, code: int = 0, environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    home = {"HF_HOME": str(tmp / "hf"), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    done: subprocess.CompletedProcess[str] = prepare(values, tmp, code, env={**os.environ, **home, **environ})
    return done


def documents_of(out: Path) -> int:
    counts = json.loads((output(out) / "record.json").read_text())["counts"]["web"]
    return sum(split["documents"] for split in counts.values())


def test_a_directory_with_subsets_and_splits(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    make_dataset(root)
    small = values(tmp_path, f"hf://{root}", subset="small")
    run(small, tmp_path)
    plain = values(tmp_path, f"{root}/small/*.parquet") | {"output_dir": str(tmp_path / "plain")}
    run(plain, tmp_path)
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")

    run(values(tmp_path, f"hf://{root}", subset="small", split="test"), tmp_path)
    assert documents_of(tmp_path / "out") == 20
    run(values(tmp_path, f"hf://{root}"), tmp_path)  # the card's default
    assert documents_of(tmp_path / "out") == 100
    write_jsonl(root / "large" / "b.jsonl", documents(30, "more"))
    run(values(tmp_path, f"hf://{root}"), tmp_path)
    assert documents_of(tmp_path / "out") == 130


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"subset": "smal"}, ["subset smal", "small", "large"]),
        ({"subset": "small", "split": "dev"}, ["no split 'dev'", "splits: train, test"]),
        ({"subset": "small", "include": "*.csv"}, ["matches include *.csv"]),
        ({"subset": "tables"}, ["t.csv is neither parquet nor JSONL"]),
    ],
)
def test_what_a_dataset_does_not_have(dataset: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    root = tmp_path / "ds"
    make_dataset(root)
    (root / "README.md").write_text(
        CARD.replace("configs:\n", "configs:\n- config_name: tables\n  data_files: t.csv\n")
    )
    (root / "t.csv").write_text("text\nhello\n")
    said = run(values(tmp_path, f"hf://{root}", **dataset), tmp_path, code=2).stderr
    assert all(word in said for word in ["error: dataset 'web'", f"hf://{root}", *words]), said


def test_a_directory_that_is_not_there_and_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    assert "not a directory" in run(values(tmp_path, "hf:///no/such"), tmp_path, code=2).stderr
    said = run(values(tmp_path, "hf://org/ds"), tmp_path, code=2, environ={"HF_HUB_OFFLINE": "1"}).stderr
    assert "hf://org/ds" in said and "hf:///DIRECTORY" in said and not (tmp_path / "out" / "latest").exists()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    make_dataset(tmp_path / "ds")
    with Hub(tmp_path / "ds", "org/ds").running() as hub:
        yield hub


def test_streamed_it_is_what_the_files_hold(hub: Hub, tmp_path: Path) -> None:
    remote = values(tmp_path, "hf://org/ds", subset="small")
    run(remote, tmp_path, environ=hub.environ)
    local = values(tmp_path, f"hf://{hub.root}", subset="small") | {"output_dir": str(tmp_path / "local")}
    run(local, tmp_path)
    assert digests(tmp_path / "out") == digests(tmp_path / "local")
    size = sum(path.stat().st_size for path in hub.root.rglob("*.parquet"))
    assert 0 < hub.sent < size / 4  # the column of text, and footers
    source = json.loads((output(tmp_path / "out") / "record.json").read_text())["sources"][0]
    assert source["files"][0]["path"] == f"hf://datasets/org/ds@{COMMIT}/small/part-0.parquet"
    assert not list((tmp_path / "hf").rglob("*.parquet"))

    asked = len(hub.requests)
    assert "nothing to do" in run(remote, tmp_path, environ=hub.environ).stderr
    assert len(hub.requests) == asked


@pytest.mark.parametrize(("subset", "answered", "count"), [("large", 0, 100), ("small", 5, 240)])
def test_a_broken_connection_is_no_bad_data(subset: str, answered: int, count: int, hub: Hub, tmp_path: Path) -> None:
    remote = values(tmp_path, "hf://org/ds", subset=subset) | {"on_error": "skip"}
    hub.left = answered
    said = run(remote, tmp_path, code=1, environ=hub.environ).stderr
    assert "cannot be read from the hub" in said and "finished shards are kept" in said and "HF_TOKEN" in said
    hub.left = None
    run(remote, tmp_path, environ=hub.environ)
    assert documents_of(tmp_path / "out") == count
