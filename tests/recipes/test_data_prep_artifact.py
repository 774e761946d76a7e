"""recipes/data_prep.py: the manifest of what was made, as a versioned artifact."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    config,
    documents,
    output,
    prepare,
    write_jsonl,
)

WANDB = """
import json, os
said = lambda *words: open(os.environ["SAID"], "a").write(json.dumps(words, default=str) + "\\n")
class Artifact:
    def __init__(self, name, type, metadata): said("artifact", name, type, metadata["version"])
    def add_file(self, path): said("file", path)
    def add_reference(self, uri, checksum): said("reference", uri, checksum)
class Run:
    def log_artifact(self, artifact): said("log")
    def finish(self): said("finish")
def init(**settings):
    if settings["project"] == "broken": raise RuntimeError("no key\\nmore")
    said("init", settings["project"], settings["job_type"])
    return Run()
"""


def manifest(root: Path, version: str = "latest") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "web" / version / "manifest.json").read_text())
    return found


def sha256(path: Path, start: int = 0, end: int | None = None) -> str:
    return hashlib.sha256(path.read_bytes()[start:end]).hexdigest()


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    write_jsonl(tmp_path / "data" / "a.jsonl", documents(100))
    write_jsonl(tmp_path / "data" / "b.jsonl", documents(5, "b"))
    artifact = {"root": str(tmp_path / "artifacts"), "name": "web"}
    return config(tmp_path, tmp_path / "data", num_shards=2, artifact=artifact)


def test_the_manifest_tells_what_made_what(values: dict[str, Any], tmp_path: Path) -> None:
    done = prepare(values, tmp_path)
    assert "artifact web:v1" in done.stderr and "run.data: web:latest" in done.stderr
    found = manifest(tmp_path / "artifacts")
    root = output(tmp_path / "out")
    assert found["path"] == str(root) and found["blend"] == f"{root}/blend.json" and found["version"] == "v1"
    assert found["tokenizer"]["sha256"] == sha256(tmp_path / "tokenizer" / "tokenizer.json")
    assert sum(split["documents"] for split in found["counts"]["web"].values()) == 105
    assert found["command"][0].endswith("data_prep.py")
    a, b = found["inputs"]
    first, second = tmp_path / "data" / "a.jsonl", tmp_path / "data" / "b.jsonl"
    assert (a["path"], a["bytes"], a["sha256"]) == (str(first), first.stat().st_size, None)  # two shards have read it
    assert [part[2] for part in a["sha256_of_parts"]] == [sha256(first, s, e) for s, e, _ in a["sha256_of_parts"]]
    assert [a["sha256_of_parts"][0][0], a["sha256_of_parts"][-1][1]] == [0, a["bytes"]]
    assert b == {"dataset": "web", "path": str(second), "bytes": second.stat().st_size, "sha256": sha256(second)}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=RECIPE.parent, capture_output=True, text=True)
    assert head.returncode or found["git"]["commit"] == head.stdout.strip()


def test_a_version_for_each_output_and_no_more(values: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    prepare(values, tmp_path)
    first = (root / "web" / "v1" / "manifest.json").read_bytes()
    assert "artifact" not in prepare(values, tmp_path).stderr
    prepare(values | {"add_bos": True}, tmp_path)
    assert manifest(root)["version"] == "v2" and str((root / "web" / "latest").readlink()) == "v2"
    prepare(values, tmp_path)  # what v1 describes
    assert manifest(root)["version"] == "v1" and (root / "web" / "v1" / "manifest.json").read_bytes() == first
    values["datasets"][0]["weight"] = 3
    prepare(values, tmp_path)
    assert manifest(root)["version"] == "v3" and manifest(root)["weights"] == {"web": 3}
    assert sorted(p.name for p in (root / "web").iterdir()) == ["latest", "v1", "v2", "v3"]


def test_an_artifact_that_is_asked_for_later_and_one_of_a_sample(values: dict[str, Any], tmp_path: Path) -> None:
    prepare(values | {"artifact": None}, tmp_path)
    prepare(values, tmp_path)
    assert manifest(tmp_path / "artifacts")["inputs"][1]["sha256"] == sha256(tmp_path / "data" / "b.jsonl")
    prepare(values | {"num_shards": None, "sample": 3, "publish": True}, tmp_path)
    assert [entry["sha256"] for entry in manifest(tmp_path / "artifacts")["inputs"]] == [None, None]


def test_the_launchers_git_state_goes_before_gits_own(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "job" / "git").mkdir(parents=True)
    (tmp_path / "job" / "git" / "commit").write_text("abc\n")
    (tmp_path / "job" / "git" / "diff.patch").write_text("--- a\n")
    environ = {**os.environ, "LAUNCH_JOB_DIR": str(tmp_path / "job"), "LAUNCH_JOB_ID": "web.1"}
    prepare(values, tmp_path, env=environ)
    found = manifest(tmp_path / "artifacts")
    assert found["git"]["commit"] == "abc" and found["git"]["uncommitted"] is True and found["job"] == "web.1"


def test_weights_and_biases(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "wandb.py").write_text(WANDB)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "modules"), "SAID": str(tmp_path / "said")}
    done = prepare(values | {"wandb": {"project": "p"}}, tmp_path, env=environ)
    assert "wandb: logged the artifact web" in done.stderr
    said = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    version = tmp_path / "artifacts" / "web" / "v1"
    assert said == [
        ["init", "p", "data-prep"],
        ["artifact", "web", "dataset", "v1"],
        ["file", f"{version}/manifest.json"],
        ["reference", f"file://{output(tmp_path / 'out')}", False],
        ["log"],
        ["finish"],
    ]
    broken = values | {"wandb": {"project": "broken"}, "add_bos": True}
    assert "wandb: the artifact was not logged: no key\n" in prepare(broken, tmp_path, env=environ).stderr


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"artifact": {"name": "a"}}, "artifact.root"),
        ({"artifact": {"root": "/a", "name": "../a"}}, "artifact.name"),
        ({"artifact": "web"}, "artifact"),
        ({"wandb": {"entity": "me"}}, "wandb.project"),
        ({"wandb": {"project": "p", "enty": "me"}}, "did you mean 'entity'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], word: str, values: dict[str, Any], tmp_path: Path) -> None:
    assert word in prepare(values | change, tmp_path, code=2).stderr
