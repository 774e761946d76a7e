"""`run.data: NAME:latest` and `${art:data,path}`; the tokenizer that made the data is the one that trains on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks, executors
from automodel_launch.checks import Finding
from automodel_launch.errors import ConfigError, ProfileError
from automodel_launch.executors import local
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LocalFileSystem
from tests.workbench import Bench, make_bench, refused

CONFIG = """\
run: {data: "web:latest"}
dataset:
  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining
  paths: ${art:data,path}/blend.json
  tokenizer: {pretrained_model_name_or_path: TOKENIZER}
validation_dataset:
  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining
  paths: ${dataset.paths}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path).trains(own_recipe=True)
    bench.env(f'[artifacts]\nroot = "{tmp_path}/art"\n')
    return bench


def tokenizer(folder: Path, rules: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    return folder


def described(folder: Path) -> dict[str, str]:
    content = (folder / "tokenizer.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": str(folder), "path": str(folder / "tokenizer.json"), "sha256": digest}


def artifact(tmp: Path, version: int = 1, made_with: Path | None = None) -> Path:
    """An output with one shard, and its manifest as the newest version of `web`."""
    made_with = made_with or tokenizer(tmp / "own", {"model": 1})
    out = tmp / "out" / f"hash{version}"
    out.mkdir(parents=True)
    for end in ("bin", "idx"):
        (out / f"web_00000.{end}").write_bytes(b"x")
    (out / "blend.json").write_text(json.dumps({"train": ["1", str(out / "web_00000")]}))
    facts = {"tokenizer": described(made_with)}
    (out / "record.json").write_text(json.dumps(facts))
    folder = tmp / "art" / "web" / f"v{version}"
    folder.mkdir(parents=True)
    manifest = {"name": "web", "version": folder.name, "path": str(out), **facts}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (tmp / "art" / "web" / "latest").unlink(missing_ok=True)
    (tmp / "art" / "web" / "latest").symlink_to(folder.name)
    return out


def config(bench: Bench, value: str | Path) -> str:
    return CONFIG.replace("TOKENIZER", str(value))


def found(plan: Plan) -> list[Finding]:
    return [finding for finding in checks.run(plan) if finding.code in ("other-tokenizer", "no-data")]


def test_a_reference_stands_for_the_version_of_that_moment(bench: Bench, tmp_path: Path) -> None:
    first, second = artifact(tmp_path), artifact(tmp_path, 2)
    text = config(bench, tmp_path / "own")
    plan = bench.planned(text)
    assert plan.config["dataset"]["paths"] == plan.config["validation_dataset"]["paths"] == f"{second}/blend.json"
    assert plan.provenance["dataset.paths"] == "stub/t.yaml:4, artifact web:v2"
    assert plan.document()["artifacts"] == {"data": "web:v2"} and found(plan) == []
    older = bench.planned(text, "run.data=web:v1")
    assert older.config["dataset"]["paths"] == f"{first}/blend.json"
    assert older.run_name != plan.run_name and older.plan_hash != plan.plan_hash
    assert bench.planned(text, "run.data=web").plan_hash == plan.plan_hash
    inner = text.replace("paths: ${art:data,path}/blend.json", "paths: ${art:data,tokenizer.sha256}")
    assert bench.planned(inner).config["dataset"]["paths"] == described(tmp_path / "own")["sha256"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.data=wob:latest", ["no artifact 'wob'", "Did you mean 'web'", "artifacts: web"]),
        ("run.data=web:v7", ["has no v7", "versions: latest, v1"]),
        ("run.data=web:newest", ["'web:newest' is not an artifact", "NAME:latest"]),
        ("run.data=../web:v1", ["is not an artifact"]),
        ("run.data=3", ["3 is not an artifact"]),
        ("~run.data", ["run.data is not set"]),
        ("dataset.paths=${art:data,pth}", ["web:v1 has no field 'pth'", "Did you mean 'path'"]),
        ("dataset.paths=${art:model,path}", ["run.model is not set"]),
    ],
)
def test_what_stands_for_nothing(override: str, words: list[str], bench: Bench, tmp_path: Path) -> None:
    artifact(tmp_path)
    text = config(bench, tmp_path / "own")
    refused(ConfigError, lambda: bench.planned(text, override), "t.yaml" if "paths" not in override else "", *words)


def test_a_damaged_manifest_and_a_relative_root(bench: Bench, tmp_path: Path) -> None:
    artifact(tmp_path)
    text = config(bench, tmp_path / "own")
    (tmp_path / "art" / "web" / "v1" / "manifest.json").write_text("{")
    refused(ConfigError, lambda: bench.planned(text), "manifest.json is not a manifest")
    bench.env('[artifacts]\nroot = "art"\n')
    refused(ProfileError, lambda: bench.planned(text), "[artifacts] root", "relative")


def test_without_a_root_they_lie_beside_the_data(bench: Bench) -> None:
    bench.env("")
    plan = bench.planned("a: ${run.artifacts.root}\nb: ${run.data_dir}\n")
    assert plan.config["a"] == f"{plan.config['b']}/artifacts"


def test_offline_no_cluster_is_asked(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Far(LocalFileSystem):
        pass

    artifact(tmp_path)
    text = config(bench, tmp_path / "own")
    monkeypatch.setattr(type(local.EXECUTOR), "place", lambda self, profile: Far())
    assert executors.get("local").place(None) != LocalFileSystem()  # type: ignore[arg-type]
    assert bench.planned(text).document()["artifacts"] == {"data": "web:v1"}
    refused(ConfigError, lambda: bench.planned(text, offline=True), "artifacts are on the cluster", "--offline")


def test_another_tokenizer_is_refused(bench: Bench, tmp_path: Path) -> None:
    artifact(tmp_path)
    other = tokenizer(tmp_path / "other", {"model": 2})
    (finding,) = found(bench.planned(config(bench, other)))
    assert (finding.level, finding.code) == ("error", "other-tokenizer")
    assert "web:v1" in finding.message and str(tmp_path / "own") in finding.message and str(other) in finding.message
    copy = tokenizer(tmp_path / "copy", {"truncation": None, "model": 1})  # saved once more by another program
    assert found(bench.planned(config(bench, copy))) == []
    tokenizer(tmp_path / "own", {"model": 3})  # the directory holds another one since
    assert [f.level for f in found(bench.planned(config(bench, tmp_path / "own")))] == ["error"]


def test_it_is_found_out_for_a_blend_without_an_artifact_too(bench: Bench, tmp_path: Path) -> None:
    out = artifact(tmp_path)
    (tmp_path / "blend.json").symlink_to(out / "blend.json")
    text = config(bench, tokenizer(tmp_path / "other", {"model": 2})).replace("${art:data,path}", str(tmp_path))
    (finding,) = found(bench.planned(text))
    assert finding.level == "error" and f"{tmp_path}/blend.json" in finding.message
    (out / "record.json").unlink()  # somebody else's data
    assert found(bench.planned(text)) == []


def test_a_hub_id_is_looked_up_in_the_cache(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    artifact(tmp_path)
    text = config(bench, "org/name")
    assert [f.level for f in found(bench.planned(text))] == ["warning"]
    model = tmp_path / "hf" / "hub" / "models--org--name"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots").mkdir()
    tokenizer(model / "snapshots" / "abc", {"model": 1})
    assert found(bench.planned(text)) == []
    tokenizer(model / "snapshots" / "abc", {"model": 2})
    assert [f.level for f in found(bench.planned(text))] == ["error"]


def test_an_override_names_the_data_of_a_config_that_names_none(bench: Bench, tmp_path: Path) -> None:
    out = artifact(tmp_path)
    text = config(bench, tmp_path / "own").replace('run: {data: "web:latest"}\n', "")
    assert bench.planned(text, "run.data=web:v1").config["dataset"]["paths"] == f"{out}/blend.json"
    refused(ConfigError, lambda: bench.planned(text, "run.dat=web:v1"), "run.dat")
