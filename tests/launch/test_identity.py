"""One run, whatever its length and cadence; two runs, whatever else differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch.backends.automodel.backend import BACKEND as AUTOMODEL
from automodel_launch.backends.megatron_bridge.backend import BACKEND as BRIDGE
from automodel_launch.checks import runs
from automodel_launch.commands import run_state
from automodel_launch.jobs import rundir
from automodel_launch.launch import identity, sweep_checking
from automodel_launch.plan import naming
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import probes
from automodel_launch.remote.filesystem import RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.workbench import Bench, make_bench, write_pair

CONFIG = """
step_scheduler: {max_steps: 100, ckpt_every_steps: 50, val_every_steps: 25, global_batch_size: 8}
dataset: {_target_: own.Data, seq_length: 64, seed: 1}
lr_scheduler: {lr_decay_style: cosine, lr_decay_steps: 100, min_lr: 0.001}
optimizer: {lr: 0.1}
checkpoint: {checkpoint_dir: "${run.dir}/checkpoints", max_recent_checkpoints: 2}
wandb: {name: "${run.name}"}
"""
MEGATRON = "dataset._target_=nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path).trains(own_recipe=True)
    bench.config(CONFIG)
    return bench


def _plan(bench: Bench, *overrides: str, **options: Any) -> Plan:
    return bench.plan(*overrides, config="t", **options)


def _begun(plan: Plan) -> None:
    rundir.begin(plan.run_dir, dict(plan.trained))
    Path(plan.run_dir, "history.jsonl").write_text("{}\n")


def _finished(plan: Plan, step: int) -> None:
    Path(plan.run_dir, "finished.json").write_text(json.dumps({"step": step}))


def _found(plan: Plan) -> dict[str, str]:
    return {finding.code: finding.message for finding in runs.same_run(plan)}


@pytest.mark.parametrize(
    "overrides",
    [
        ("step_scheduler.max_steps=200",),
        ("+step_scheduler.num_epochs=3", "~step_scheduler.max_steps"),
        ("step_scheduler.ckpt_every_steps=10", "~step_scheduler.val_every_steps"),
        ("step_scheduler.ckpt_every_steps=null",),
        ("+step_scheduler.log_remote_every_steps=7", "checkpoint.max_recent_checkpoints=9"),
        (MEGATRON, "+dataset.num_train_samples=4000", "step_scheduler.max_steps=200"),
    ],
)
def test_another_length_or_cadence_is_the_same_run(bench: Bench, overrides: tuple[str, ...]) -> None:
    before = [text for text in overrides if "dataset" in text]
    assert _plan(bench, *overrides).run_name == _plan(bench, *before).run_name


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer.lr=0.2",),
        ("step_scheduler.global_batch_size=16",),
        ("lr_scheduler.lr_decay_steps=200",),
        ("step_scheduler.max_steps=200", "lr_scheduler.lr_decay_steps=200"),
        ("dataset.seed=2",),
        (MEGATRON, "step_scheduler.max_steps=200"),  # whose samples are ordered for max_steps
        (MEGATRON, "+dataset.num_train_samples=4001", "step_scheduler.max_steps=200"),
    ],
)
def test_what_is_learnt_in_another_way_is_another_run(bench: Bench, overrides: tuple[str, ...]) -> None:
    before = [text.replace("4001", "4000") for text in overrides if "dataset._" in text or "samples" in text]
    assert _plan(bench, *overrides).run_name != _plan(bench, *before).run_name


def test_what_follows_the_length_follows_it_into_the_same_run(bench: Bench) -> None:
    bench.config(CONFIG.replace("lr_decay_steps: 100", "lr_decay_steps: '${step_scheduler.max_steps}'"))
    first, longer = _plan(bench), _plan(bench, "step_scheduler.max_steps=200")
    assert first.run_name == longer.run_name
    assert longer.config["lr_scheduler"]["lr_decay_steps"] == 200
    _begun(first)
    told = _found(longer)["other-length"]
    assert "step_scheduler.max_steps 100, now 200" in told
    assert "lr_scheduler.lr_decay_steps 100, now 200" in told
    assert "ends at step 100: steps after that are taken at min_lr = 0.001" in told


def test_a_number_is_never_taken_for_what_follows_the_length(bench: Bench) -> None:
    bench.config(CONFIG.replace("lr_decay_steps: 100", "lr_decay_steps: '${step_scheduler.max_steps}'"))
    assert _plan(bench).run_name != _plan(bench, "lr_scheduler.lr_decay_steps=1").run_name


def test_points_and_steps_are_finished_whatever_their_cadence_or_a_longer_run_has_been(bench: Bench) -> None:
    first = _plan(bench)
    _begun(first)
    _finished(first, 100)
    for overrides, finished in ((("step_scheduler.ckpt_every_steps=10",), True), (("optimizer.lr=0.2",), False)):
        plan = _plan(bench, *overrides, name=first.run_name)
        assert sweep_checking._finished(plan) is finished
        assert identity.began_otherwise(plan) is not finished


def test_a_length_that_orders_the_data_anew_tells_of_the_schedule_too(bench: Bench) -> None:
    _begun(_plan(bench, MEGATRON, name="n"))
    found = _found(_plan(bench, MEGATRON, "step_scheduler.max_steps=200", name="n"))
    assert "step_scheduler.max_steps; the learning rate follows" in found["run-differs"]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (
            {"override_opt_param_scheduler": True},
            "follows this config's schedule from its checkpoint on",
        ),
        (
            {"use_checkpoint_opt_param_scheduler": True},
            "in the run's checkpoints, which ends at step 60",
        ),
    ],
)
def test_whose_schedule_a_longer_run_follows(kept: dict[str, bool], words: str) -> None:
    begun = {"train": {"train_iters": 60}, "scheduler": {"lr_decay_iters": 60, **kept}}
    now = {"train": {"train_iters": 90}, "scheduler": {"lr_decay_iters": 90, **kept}}
    assert words in "".join(BRIDGE.longer(begun, now))
    assert not list(BRIDGE.longer(now, now))
    steps = {"step_scheduler": {"max_steps": 60}, "lr_scheduler": {"lr_decay_steps": 60, "min_lr": 0.1, **kept}}
    longer = {**steps, "step_scheduler": {"max_steps": 90}}
    own = "override_opt_param_scheduler" in kept
    assert ("follows this config's" in "".join(AUTOMODEL.longer(steps, longer))) is own


def test_a_longer_launch_says_that_it_goes_on_and_a_shorter_one_is_finished(bench: Bench) -> None:
    first = _plan(bench)
    _begun(first)
    _finished(first, 100)
    assert run_state.finished(_plan(bench), offline=True) == {"step": 100}
    assert run_state.finished(_plan(bench, "step_scheduler.ckpt_every_steps=10"), offline=True) == {"step": 100}
    assert run_state.finished(_plan(bench, "step_scheduler.max_steps=60"), offline=True) == {"step": 100}
    longer = _plan(bench, "step_scheduler.max_steps=200")
    assert run_state.finished(longer, offline=True) is None
    assert set(_found(longer)) == {"other-length"}
    epochs = _plan(bench, "~step_scheduler.max_steps", "+step_scheduler.num_epochs=2")
    assert run_state.finished(epochs, offline=True) is None  # nothing tells how many steps these are
    assert set(_found(_plan(bench))) == set()


def test_data_that_are_read_once_have_one_order_whatever_the_length(bench: Bench) -> None:
    """10,000 tokens, of which MegatronPretraining trains on 90 %; a step takes 32."""
    prefix = write_pair(bench.root / "data", *([list(range(100))] * 100))
    data = (MEGATRON, f"+dataset.paths=[{prefix}]", "dataset.seq_length=4", "step_scheduler.global_batch_size=8")
    first = _plan(bench, *data)
    assert _plan(bench, *data, "step_scheduler.max_steps=270").run_name == first.run_name
    twice = _plan(bench, *data, "step_scheduler.max_steps=300", "lr_scheduler.lr_decay_steps=300")
    assert twice.run_name != first.run_name
    assert list(runs.another_length(twice)) == []
    _begun(_plan(bench, *data, "lr_scheduler.lr_decay_steps=100"))
    (found,) = runs.another_length(twice)
    assert f"run {first.run_name} has these settings with step_scheduler.max_steps = 100" in found.message
    assert f"--name {first.run_name} goes on" in str(found.fix) and "num_train_samples" in str(found.fix)
    assert list(runs.another_length(_plan(bench, *data, "step_scheduler.max_steps=300", "optimizer.lr=0.3"))) == []


def test_a_name_still_warns_of_what_is_learnt(bench: Bench) -> None:
    first = _plan(bench, name="n")
    _begun(first)
    other = _plan(
        bench, "optimizer.lr=0.2", "step_scheduler.max_steps=200", "~checkpoint.max_recent_checkpoints", name="n"
    )
    found = _found(other)
    assert set(found) == {"run-differs", "other-length"}
    assert found["run-differs"].endswith("these differ: optimizer.lr.")
    assert "max_recent_checkpoints 2, now not set" in found["other-length"]
    assert run_state.finished(other, offline=True) is None


def test_a_run_of_an_earlier_release_keeps_its_name(bench: Bench) -> None:
    plan = _plan(bench)
    former = naming.run_name("stub", "t", plan.trained)
    assert former != plan.run_name
    old = replace(plan, run_name=former)
    _begun(old)
    assert _plan(bench).run_name == former
    assert _plan(bench, "step_scheduler.max_steps=200").run_name == plan.run_name
    _begun(plan)
    assert _plan(bench).run_name == plan.run_name  # one that has begun under today's name goes first


def test_over_ssh_a_run_of_an_earlier_release_is_asked_for(bench: Bench) -> None:
    plan = replace(_plan(bench), place=RemoteFileSystem(LocalShell()))
    former = naming.run_name("stub", "t", plan.trained)
    script = runs.asked(plan)["former_name"]
    for begun in (False, True):
        if begun:
            _begun(replace(plan, run_name=former))
        answers = probes.run(LocalShell(), {"former_name": script})
        found = [finding for finding in runs.answered(plan, answers) if finding.code == "other-name"]
        assert [finding.fix for finding in found] == [f"--name {former} goes on with it"] * begun
    assert "former_name" not in runs.asked(replace(plan, run_name="mine"))
    point = replace(_plan(bench, prefix="grid"), place=plan.place)  # of a sweep
    former = naming.run_name("stub", "t", plan.trained, prefix="grid")
    assert f"/{former}/" in runs.asked(point)["former_name"]


def test_nothing_is_taken_out_of_a_script_that_is_not_known(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    plan = bench.planned(CONFIG)
    assert plan.identity == plan.trained
    assert plan.pace == frozenset()
    assert bench.plan("step_scheduler.max_steps=200", config="t").run_name != plan.run_name
