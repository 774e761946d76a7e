"""What a run trains on never changes under it: links, the plan's hash, the run's name, and launches on other data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.checks import data as data_checks
from automodel_launch.errors import ConfigError
from automodel_launch.executors import local
from automodel_launch.jobs import rundir
from automodel_launch.launch import data as launch_data
from automodel_launch.plan import naming
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.filesystem import LocalFileSystem
from automodel_launch.remote.probes import Result, Results
from tests.workbench import Bench, make_bench, refused, write_pair, write_shard

CONFIG = """\
dataset:
  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining
  paths: DATA/blend.json
  index_mapping_dir: ${run.dir}/index/train
validation_dataset:
  _target_: nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining
  paths: ${dataset.paths}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def output(base: Path, name: str, *ids: int) -> Path:
    """A complete output of data-prep below `base`, the newest one."""
    train = base / name / "train"
    train.mkdir(parents=True)
    prefix = write_pair(train / "web_00000", list(ids))
    (base / name / "blend.json").write_text(json.dumps({"train": ["1", prefix]}))
    for link, target in (("latest", name), ("blend.json", "latest/blend.json")):
        (base / link).unlink(missing_ok=True)
        (base / link).symlink_to(target)
    return base / name


def planned(bench: Bench, base: Path, *texts: str, **options: Any) -> Plan:
    return bench.planned(CONFIG.replace("DATA", str(base)), *texts, **options)


def begun(plan: Plan) -> Plan:
    """The run's directory as submit leaves it, and a job of it that has begun."""
    data = {key: plan.data.get(key) for key in ("digest", "rows")}
    rundir.begin(plan.run_dir, plan.trained, data={**data, "job_id": plan.job_id})
    Path(plan.run_dir, "history.jsonl").touch()
    return plan


def found(plan: Plan) -> list[Finding]:
    return [finding for finding in checks.run(plan) if finding.code.startswith("data-")]


def test_links_are_followed_to_the_directory_of_that_moment(bench: Bench, tmp_path: Path) -> None:
    first = output(tmp_path / "out", "aaaa", 1, 2, 3)
    plan = planned(bench, tmp_path / "out")
    assert plan.config["dataset"]["paths"] == plan.config["validation_dataset"]["paths"] == f"{first}/blend.json"
    assert plan.provenance["dataset.paths"] == "stub/t.yaml:3, links followed"
    assert plan.agent["data"]["named"] == [["megatron", f"{first}/blend.json"]]
    assert plan.agent["data"]["caches"] == [f"{plan.run_dir}/index/train"]
    output(tmp_path / "out", "bbbb", 4, 5)
    assert plan.config["dataset"]["paths"] == f"{first}/blend.json"  # what its every attempt reads


def test_other_data_are_another_run_and_the_same_data_the_same(bench: Bench, tmp_path: Path) -> None:
    output(tmp_path / "out", "aaaa", 1, 2, 3)
    first = planned(bench, tmp_path / "out")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    again = planned(bench, tmp_path / "out")
    assert (again.run_name, again.plan_hash) == (first.run_name, first.plan_hash)
    output(tmp_path / "out", "bbbb", 1, 2, 4)
    other = planned(bench, tmp_path / "out")
    assert other.run_name != first.run_name and other.plan_hash != first.plan_hash
    named = [planned(bench, tmp_path / "out", name="mine"), None]
    (tmp_path / "out" / "latest").unlink()
    (tmp_path / "out" / "latest").symlink_to("aaaa")
    named[1] = planned(bench, tmp_path / "out", name="mine")
    assert named[0] and named[1] and named[0].plan_hash != named[1].plan_hash
    assert planned(bench, tmp_path / "out").run_name == first.run_name


def test_a_blend_of_ones_own_that_is_rewritten_in_place(bench: Bench, tmp_path: Path) -> None:
    prefix = write_pair(tmp_path / "own", [1, 2, 3])
    (tmp_path / "blend.json").write_text(json.dumps([prefix]))
    first = planned(bench, tmp_path)
    assert first.document()["data"] == {"identity": first.data["digest"], "files": 1} and first.data["digest"]
    write_pair(tmp_path / "own", [1, 2, 4])
    second = planned(bench, tmp_path)
    assert second.config == first.config | {
        "dataset": second.config["dataset"],
        "validation_dataset": second.config["validation_dataset"],
    }
    assert second.run_name != first.run_name and second.plan_hash != first.plan_hash


def test_a_config_without_data_keeps_its_name(bench: Bench) -> None:
    plan = bench.planned("a: 1\n")
    assert plan.run_name == naming.run_name("stub", "t", plan.trained) and "data" not in plan.agent
    assert naming.run_name("stub", "t", plan.trained, "d") != plan.run_name


@pytest.mark.parametrize("changed", [False, True])
def test_a_second_launch_of_a_name_on_other_data_is_refused(bench: Bench, tmp_path: Path, changed: bool) -> None:
    first = output(tmp_path / "out", "aaaa", 1, 2, 3)
    begun(planned(bench, tmp_path / "out", name="mine"))
    if not changed:
        assert found(planned(bench, tmp_path / "out", name="mine")) == []
        return
    second = output(tmp_path / "out", "bbbb", 4, 5)
    (finding,) = found(planned(bench, tmp_path / "out", name="mine"))
    assert (finding.level, finding.code) == ("error", "data-changed")
    assert f"{first}/train/web_00000: 6 + " in finding.message and f"now {second}/train/web_00000: 4 + " in (
        finding.message
    )
    assert "--fresh" in (finding.fix or "") and "run.data_changed=allow" in (finding.fix or "")
    assert found(planned(bench, tmp_path / "out", name="mine", fresh=True)) == []


def test_other_data_on_purpose(bench: Bench, tmp_path: Path) -> None:
    output(tmp_path / "out", "aaaa", 1, 2, 3)
    plan = begun(planned(bench, tmp_path / "out", name="mine"))
    output(tmp_path / "out", "bbbb", 4, 5)
    allowed = planned(bench, tmp_path / "out", "run.data_changed=allow", name="mine")
    assert [finding.level for finding in found(allowed)] == ["warning"]
    assert allowed.agent["data"]["allow"] == allowed.data["digest"] != plan.data["digest"]
    begun(allowed)  # the record is the job's to change: one that never starts changes nothing
    assert rundir.data(plan.run_dir)["digest"] == plan.data["digest"]
    names = {planned(bench, tmp_path / "out", *texts).run_name for texts in ((), ("run.data_changed=allow",))}
    assert len(names) == 1
    refused(ConfigError, lambda: planned(bench, tmp_path, "run.data_changed=yes"), "refuse or allow")
    refused(ConfigError, lambda: planned(bench, tmp_path, "run.data_changed=maybe"), "refuse or allow")


class Far(LocalFileSystem):
    """A file system that is not this machine's."""


def test_over_a_connection_the_job_takes_it_in(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output(tmp_path / "out", "aaaa", 1, 2, 3)
    monkeypatch.setattr(type(local.EXECUTOR), "place", lambda self, profile: Far())
    plan = planned(bench, tmp_path / "out")
    assert plan.config["dataset"]["paths"] == f"{tmp_path}/out/blend.json"
    assert plan.run_name == planned(bench, tmp_path / "out", offline=True).run_name
    assert plan.run_name == naming.run_name("stub", "t", plan.trained)
    (finding,) = found(plan)
    assert (finding.level, finding.code) == ("note", "data-not-known") and "on the cluster" in finding.message
    assert data_checks.asked(plan)
    told = Results({"identity": Result(0, 'hello\n{"differences": ["x: 1, now 2"]}')}, 0.0)
    (finding,) = data_checks.answered(plan, told)
    assert (finding.level, finding.code) == ("error", "data-changed") and "x: 1, now 2" in finding.message
    for silent in (Results({}, 0.0), Results({"identity": Result(1, "no python3")}, 0.0)):
        assert list(data_checks.answered(plan, silent)) == []
    assert planned(bench, tmp_path / "out", "run.data_changed=allow").agent["data"]["allow"] is True


def test_data_that_only_the_job_can_name(bench: Bench) -> None:
    text = CONFIG.replace("DATA/blend.json", "${oc.env:SLURM_BLEND}")
    plan = bench.planned(text)
    (finding,) = found(plan)
    assert finding.code == "data-not-known" and "variable" in finding.message
    assert plan.agent["data"]["named"] == [["megatron", "${oc.env:SLURM_BLEND}"]]


def test_data_that_are_missing_are_told_by_others(bench: Bench, tmp_path: Path) -> None:
    assert found(planned(bench, tmp_path / "none")) == []


def test_a_run_of_the_time_before_its_data_were_known(bench: Bench, tmp_path: Path) -> None:
    output(tmp_path / "out", "aaaa", 1, 2, 3)
    plan = planned(bench, tmp_path / "out")
    former = naming.run_name("stub", "t", plan.trained)
    rundir.begin(f"{plan.job_root}/{former}", plan.trained)
    (finding,) = [one for one in checks.run(plan) if one.code == "other-name"]
    assert (finding.level, finding.fix) == ("warning", f"--name {former} goes on with it")
    assert not [one for one in checks.run(planned(bench, tmp_path / "out", name=former)) if one.code == "other-name"]
    begun(plan)
    assert not [one for one in checks.run(plan) if one.code == "other-name"]


def test_which_links_are_followed(tmp_path: Path) -> None:
    out = output(tmp_path / "out", "aaaa", 1)
    base, mounts = str(tmp_path), [["/data", str(tmp_path)]]
    for path, behind in {
        f"{base}/out/latest/train/*.bin": f"{out}/train/*.bin",
        f"{base}/out/blend.json": f"{out}/blend.json",
        f"{base}/out/aaaa/blend.json": f"{out}/blend.json",
        f"{base}/none/latest": f"{base}/none/latest",
    }.items():
        assert launch_data.pinned(path, []) == behind
    assert launch_data.pinned("/data/out/blend.json", mounts) == "/data/out/aaaa/blend.json"
    assert launch_data.pinned("/elsewhere/out/blend.json", mounts) == "/elsewhere/out/blend.json"
    (tmp_path / "absolute").symlink_to(out)
    (tmp_path / "up").symlink_to("../x")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("absolute", "up", "circle"):  # they may lead elsewhere on a node
        assert launch_data.pinned(f"{base}/{name}/blend.json", []).endswith(f"/{name}/blend.json")


def test_nanogpt_patterns_too(bench: Bench, tmp_path: Path) -> None:
    train = output(tmp_path / "out", "aaaa", 1) / "train"
    write_shard(train / "train_00000.bin", [1, 2, 3])
    plan = bench.planned(
        "dataset:\n  _target_: nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset\n"
        f"  file_pattern: {tmp_path}/out/latest/train/train_*.bin\n"
    )
    assert plan.config["dataset"]["file_pattern"] == f"{train}/train_*.bin"
    assert plan.document()["data"]["files"] == 1
