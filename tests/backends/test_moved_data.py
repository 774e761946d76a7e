"""A copy of data-prep's output, whose blend.json still names the original's shards: both readers of it say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from automodel_launch.backends.automodel.checks import data as of_automodel
from automodel_launch.plan.finding import Finding
from tests.backends.megatron_bridge.bridge_bench import found
from tests.workbench import make_bench, write_pair

VERSION = "70974bed"
TARGET = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"


def _prepared(root: Path) -> Path:
    """blend.json of an output, as data-prep lays it out."""
    folder = root / "megatron" / VERSION
    (folder / "web").mkdir(parents=True)
    prefix = write_pair(folder / "web" / "00000", [1, 2, 3], list(range(60)))
    (folder / "record.json").write_text("{}")
    (folder / "blend.json").write_text(json.dumps({"train": ["1.0", prefix], "valid": ["1.0", prefix]}))
    return folder / "blend.json"


def _automodel(root: Path, blend: Path) -> list[Finding]:
    dataset = {"_target_": TARGET, "paths": str(blend), "splits_to_build": "train", "index_mapping_dir": "${run.dir}/i"}
    bench = make_bench(root).trains()
    return list(of_automodel.LOOK.here(bench.planned(json.dumps({"dataset": {**dataset, "seq_length": 4}}))))


def _megatron_bridge(root: Path, blend: Path) -> list[Finding]:
    return found(
        make_bench(root), f"recipe: {{_target_: qwen3_8b_pretrain_config, per_split_data_args_path: {blend}}}\n"
    )


@pytest.mark.parametrize("check", [_automodel, _megatron_bridge])
def test_a_copy_that_names_the_original(tmp_path: Path, check: object) -> None:
    assert callable(check)
    original = _prepared(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = tmp_path / "b" / "megatron" / VERSION / "blend.json"
    here, there = (
        [one for one in check(tmp_path / name, blend) if one.code == "data-elsewhere"]
        for name, blend in (("one", original), ("other", copy))
    )
    assert here == []
    (moved,) = there
    assert moved.level == "warning"
    assert str(original.parent / "web" / "00000") in moved.message
    assert moved.fix == f"python launch.py data-prep relocate {copy}"
