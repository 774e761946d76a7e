"""The backend of data preparation: the recipe is asked once a plan; a copied output is told from the original."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import backends
from automodel_launch.backends import look
from automodel_launch.backends.data import probe
from automodel_launch.backends.data_prep import table
from automodel_launch.plan import recipes
from automodel_launch.plan.mounts import Mount
from automodel_launch.plan.plan import Plan
from automodel_launch.workspace import Workspace
from tests.conftest import ROOT
from tests.workbench import Bench, make_bench, write_pair


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = make_bench(tmp_path)
    script = made.script("stub", '[tool.runspec]\nbackend = "data-prep"\n[tool.runspec.config]\ndir = "stub"')
    script.write_text(script.read_text() + ANSWERS)
    return made


ANSWERS = """
import json, sys
from pathlib import Path
calls = Path(__file__).with_name("calls")
calls.write_text((calls.read_text() if calls.exists() else "") + " ".join(sys.argv[1:]) + "\\n")
config = json.load(open(sys.argv[3]))
if config.get("broken"):
    sys.exit("this is why")
total = dict(files=2, bytes=10**9, documents=10, tokens=3 * 10**8, shards=4, output_bytes=6 * 10**8, core_seconds=7200)
finding = dict(level="warning", code="data-prep-epochs", message="too often", fix="less")
source = dict(name="web", files=2, bytes=10**9, documents=10, tokens=3 * 10**8, weight=1.0, epochs=1.0)
print(json.dumps(dict(findings=[finding], sources=[source], total=total)))
"""


def found(plan: Plan) -> dict[str, str]:
    return {finding.code: finding.message for finding in backends.of(plan.recipe).checks(plan)}


def test_the_recipe_is_asked_once(bench: Bench) -> None:
    look.looked.cache_clear()
    plan = bench.planned("workers: 8\n")
    messages = found(plan)
    assert messages["data-prep-epochs"] == "too often."
    assert "about 300 million tokens, 600 MB of output" in messages["data-prep-estimate"]
    assert "2 h of one core" in messages["data-prep-estimate"]
    assert "30 min with 8 processes; more than 4 have nothing to do" in messages["data-prep-estimate"]
    rows = backends.of(plan.recipe).sizes(plan).rows
    assert rows[0] == ("source", "web: 2 files, 1 GB, about 10 documents, 300 million tokens, weight 1, 1 epoch")
    (call,) = (bench.workspace.recipes / "calls").read_text().splitlines()
    assert call.startswith("look --config ") and not call.endswith("--config-only")


def test_a_recipe_that_does_not_answer_is_a_note(bench: Bench) -> None:
    messages = found(bench.planned("broken: true\n"))
    assert "code 1: this is why" in messages["data-prep-not-looked-at"] and "data-prep-estimate" not in messages


def test_data_of_a_container_are_not_looked_at(bench: Bench) -> None:
    look.looked(replace(bench.planned("output_dir: /o\n"), mounts=(Mount("/data", "/d"),)))
    assert (bench.workspace.recipes / "calls").read_text().endswith("--config-only\n")


def test_data_outside_of_a_container_are_named() -> None:
    values: dict[str, Any] = {"datasets": [{"path": "/d/*/a.jsonl"}, {"path": "hf://a/b"}, 3], "output_dir": "/o"}
    named = {(one.kind, one.value) for one in backends.get("data-prep").references(values)}
    assert named == {("data", "/d"), ("output", "/o")}


def test_the_shipped_recipe_has_the_backend() -> None:
    here = Workspace(ROOT, ROOT / "recipes", ROOT / "configs", ROOT / "env.toml")
    assert recipes.find(here, "data-prep", ()).backend == "data-prep"


@pytest.mark.parametrize(("number", "text"), [(0.2, "1 s"), (200, "3.3 min"), (9000, "2.5 h"), (10**6, "12 days")])
def test_times(number: float, text: str) -> None:
    assert table._hours(number) == text


def test_a_copy_that_names_the_originals_shards(tmp_path: Path) -> None:
    root = tmp_path / "out" / "1f2e3d4c"
    (root / "train").mkdir(parents=True)
    prefix = write_pair(root / "train" / "web_00000", [1, 2])
    (root / "blend.json").write_text(json.dumps({"train": ["1", prefix]}))
    (root / "record.json").write_text("{}")
    prober = probe.Prober([], 10)
    assert "own" not in prober.blend(str(root / "blend.json"))
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    copy = tmp_path / "copy" / "1f2e3d4c"
    assert prober.blend(str(copy / "blend.json"))["own"] == str(copy / "train" / "web_00000")
    (tmp_path / "mounted").symlink_to(tmp_path / "out")  # the same files by another name are no copy
    assert "own" not in prober.blend(str(tmp_path / "mounted" / "1f2e3d4c" / "blend.json"))
    shutil.rmtree(tmp_path / "out")  # moved
    assert prober.blend(str(copy / "blend.json"))["own"] == str(copy / "train" / "web_00000")


def test_a_store_is_looked_at_with_what_the_job_will_have(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this shell has beside is a warning, by name, where the job does not get it; the value is never shown."""
    with (bench.workspace.recipes / "stub.py").open("a") as script:
        script.write('import os\nPath(__file__).with_name("asked").write_text(os.environ["AWS_ENDPOINT_URL"])\n')
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    bench.env('[local.env_vars]\nAWS_ENDPOINT_URL = "http://127.0.0.1:9"\n')
    plan = bench.planned("datasets: [{name: web, path: s3://b/web}]\n")
    assert "data-prep-credentials" not in found(plan)  # the job has this shell's environment
    assert (bench.workspace.recipes / "asked").read_text() == "http://127.0.0.1:9"
    contained = replace(plan, image="an-image")
    (finding,) = [f for f in backends.of(plan.recipe).checks(contained) if f.code == "data-prep-credentials"]
    assert "s3://b/web is read with AWS_ACCESS_KEY_ID, AWS_REGION, which this shell has" in finding.message
    assert [need.module for need in backends.of(plan.recipe).packages(plan.config)] == ["obstore"]
    assert finding.fix == 'secrets = ["AWS_ACCESS_KEY_ID"] and env = ["AWS_REGION"] in the profile'
    assert "some-key" not in str(finding)
    given = plan.profile.model_copy(update={"secrets": ("AWS_ACCESS_KEY_ID",), "env": ("AWS_REGION",)})
    assert "data-prep-credentials" not in found(replace(contained, profile=given))


def test_what_is_relative_lies_beside_the_jobs_code(bench: Bench) -> None:
    """It is refused, unless it travels with the code; a value of no path is left to the recipe, and ends nothing."""
    (bench.root / "own").mkdir()
    (bench.root / "own" / "a.jsonl").write_text("{}")
    text = "output_dir: out\nblend: b.json\nartifact: {root: ~/a}\nrun: {env: {code: [own]}}\n"
    text += "datasets: [{path: own/*.jsonl}, {path: 's3://b/a'}, {path: ~/x}, {path: corpus/*.gz}, {path: null}, null,"
    text += " {path: '*.jsonl'}, {path: '*/a.jsonl'}]\n"
    plan = bench.planned(text)
    told = [(f.message, f.fix) for f in backends.of(plan.recipe).checks(plan) if f.code == "relative-path"]
    keys = ["datasets.3.path", "datasets.6.path", "blend", "output_dir"]
    assert [message.partition(" = ")[0] for message, _ in told] == keys, told
    assert told[0][0].startswith("datasets.3.path = 'corpus/*.gz' (")
    assert told[0][1] == str(Path("corpus/*.gz").absolute())
    for nothing in (
        "datasets: null\nartifact: null\noutput_dir: null\n",
        "datasets: 3\nblend: [1]\nupload: {a: null}\n",
    ):
        assert found(bench.planned(nothing))
