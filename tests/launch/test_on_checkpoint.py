"""`on_checkpoint` in a plan: what the evaluation's job will be, and what is refused before there is a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import contract, executors
from automodel_launch.commands import main, preview_summary
from automodel_launch.config import configs, overrides
from automodel_launch.errors import ConfigError
from automodel_launch.launch import checking, on_checkpoint, planning, submit
from automodel_launch.plan import naming, recipes
from automodel_launch.plan.plan import Plan
from automodel_launch.profile import profiles
from automodel_launch.workspace import Workspace
from tests.conftest import ROOT

ENV = """[p]
executor = "slurm"
nodes = 2
gpus_per_node = 8
time = "04:00:00"
until = "done"
spares = 1
container_image = "none"
remote_job_dir = "{root}/jobs"
data_dir = "{root}/data"
secrets = ["TOKEN"]
notify = ["mail:me@here.example"]
on_checkpoint = "evaluate"

[here]
executor = "local"
nproc_per_node = 2
on_checkpoint = "evaluate"
"""
MARK = contract.THIS_CHECKPOINT


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    (tmp_path / "env.toml").write_text(ENV.format(root=tmp_path))
    return Workspace(tmp_path, ROOT / "recipes", ROOT / "configs", tmp_path / "env.toml")


def plan(here: Workspace, *texts: str, recipe: str = "pretrain", profile: str = "p", **options: Any) -> Plan:
    found = recipes.find(here, recipe)
    layered = configs.load(found, "tiny", [overrides.parse(text) for text in texts])
    env_file = profiles.load(here.env_file, profile)
    return planning.make(here, env_file, profile, found, layered, environ={}, offline=True, **options)


def test_its_job_is_planned_with_the_trainings(here: Workspace) -> None:
    made = plan(here, "run.env.time=01:00:00", "run.env.partition=big", "model.config.hidden_size=128")
    own = made.evaluation
    assert own is not None and own.recipe.name == "evaluate"
    assert own.run_name == f"{made.run_name}-{MARK}" and own.job_root == made.job_root
    assert (own.nodes, own.processes_per_node, own.profile.time, own.profile.partition) == (1, 8, "01:00:00", "big")
    assert own.image == made.image
    assert own.config["checkpoint"]["restore_from"] == f"{made.run_dir}/checkpoints/{MARK}"
    assert own.config["model"] == made.config["model"] and "lr_scheduler" not in own.config
    assert own.agent["chain"] is None and "notify" not in own.agent and "spares" not in own.agent
    assert own.agent["secrets_file"] == f"{own.job_dir}/{contract.SECRETS}"
    assert {file.path for file in own.files} <= {file.path for file in made.files}
    folder = f"{contract.ON_CHECKPOINT}/"
    texts = {name.removeprefix(folder): text for name, text in submit.texts_of(made).items() if folder in name}
    assert {*texts} == {contract.AGENT, contract.CONFIG, contract.SCRIPT, contract.PLAN}
    rendered = {name: text.replace(MARK, "epoch_0_step_9") for name, text in texts.items()}
    job_dir = f"{made.run_dir}-epoch_0_step_9.1"
    assert json.loads(rendered[contract.AGENT])["job_dir"] == job_dir
    assert f"#SBATCH --chdir={job_dir}" in rendered[contract.SCRIPT] and "--nodes=1\n" in rendered[contract.SCRIPT]
    assert yaml.safe_load(rendered[contract.CONFIG])["checkpoint"]["restore_from"].endswith("/epoch_0_step_9")
    said = dict(preview_summary.lines(made, offline=True))["evaluate"]
    assert said.endswith("1 node x 8 processes, 01:00:00 (on_checkpoint)")


def test_a_plan_without_it_is_what_it_was_and_the_runs_name_is_the_same(here: Workspace) -> None:
    made, without = plan(here), plan(here, "run.env.on_checkpoint=null")
    assert without.evaluation is None and not [name for name in without.texts if contract.ON_CHECKPOINT in name]
    assert "on_checkpoint" not in without.document() and made.document()["on_checkpoint"] == "evaluate"
    assert made.run_name == without.run_name and made.plan_hash != without.plan_hash
    assert (made.script, made.agent) == (without.script, without.agent)
    assert plan(here).plan_hash == made.plan_hash  # no name of a scratch file in it
    again = planning.with_job_id(made, f"{made.run_name}.7", {})
    assert again.plan_hash == made.plan_hash


def test_a_run_of_the_longest_name_has_names_for_its_evaluations(here: Workspace) -> None:
    names = [plan(here, name=letter * naming.LONGEST).evaluation for letter in "ab"]
    first, second = [own.run_name.replace(MARK, "epoch_12_step_1234567") for own in names if own]
    assert first[:20] == "a" * 20 and second[:20] == "b" * 20
    naming.check(first)
    tail = [plan(here, name="a" * (naming.LONGEST - 1) + letter).evaluation for letter in "xy"]
    assert len({own.run_name for own in tail if own}) == 2


def test_what_cannot_be_evaluated_is_refused_with_the_training(here: Workspace) -> None:
    with pytest.raises(
        ConfigError, match=r"on_checkpoint = 'evaluate' \(.*\): the run has no validation_dataset"
    ) as told:
        plan(here, "~validation_dataset")
    assert "run.env.on_checkpoint=null" in str(told.value.hint)
    with pytest.raises(ConfigError, match="checkpoints of Megatron-Bridge"):
        plan(here, recipe="pretrain-bridge")


def test_findings_that_would_refuse_it_refuse_the_training_once(here: Workspace) -> None:
    data = {"no-data", "no-tokenizer", "unset-name"}  # nothing of which is there, as the training's own findings say
    assert {finding.code for finding in on_checkpoint.findings(plan(here), ())} == data
    found = checking.run(plan(here), offline=True)
    assert {finding.code for finding in found} >= data and not [f for f in found if "on_checkpoint" in f.message]
    wide = checking.run(plan(here, "distributed.tp_size=16", "model.config.num_attention_heads=16"), offline=True)
    told = [finding for finding in wide if "on_checkpoint" in finding.message]
    assert told and all("tp_size" in f.message and f.level == "error" for f in told)
    assert all("run.env.on_checkpoint=null" in str(finding.fix) for finding in told)


def test_recipes_that_save_nothing_and_other_executors_ignore_it(here: Workspace) -> None:
    assert plan(here, recipe="data-prep").evaluation is None
    assert plan(here, profile="here").evaluation is None
    assert "on_checkpoint" not in executors.get("local").needed


def test_another_word_and_an_export_are_refused(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN", "x")
    words = ("pretrain", "-c", "tiny", "--env", str(here.env_file), "--batch", "p", "--offline")
    assert main.main((*words, "run.env.on_checkpoint=evaluat", "--dry-run")) == 2
    assert "on_checkpoint" in capsys.readouterr().err
    assert main.main((*words, "--export", str(here.root / "out"))) == 2
    said = capsys.readouterr().err
    assert "an exported job evaluates no checkpoints" in said and "run.env.on_checkpoint=null" in said
    assert not (here.root / "out").exists()
