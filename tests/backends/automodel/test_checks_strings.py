"""Values that come from variables are strings in the config; AutoModel makes numbers of them, and so do the checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.backends.automodel import step_scheduler
from automodel_launch.plan.plan import Plan
from tests.backends.automodel.test_checks_arithmetic import BASE, LLAMA
from tests.workbench import Bench, make_bench

FAULTS = {
    "step_scheduler.local_batch_size": ("3", "batch-math"),
    "step_scheduler.global_batch_size": ("7", "batch-math"),
    "step_scheduler.max_steps": ("-5", "not-positive"),
    "step_scheduler.ckpt_every_steps": ("0", "not-positive"),
    "distributed.tp_size": ("3", "world-size"),
    "optimizer.lr": ("1e-9", "lr-range"),
    "lr_scheduler.min_lr": ("1.0", "lr-range"),
    "lr_scheduler.lr_warmup_steps": ("200", "lr-length"),
    "dataloader.batch_size": ("4", "batch-size-twice"),
    "model.config.num_hidden_layers": ("1", "pipeline"),
    "distributed.pipeline.pp_microbatch_size": ("0", "pipeline"),
}
FORMS = ("${{NOT_SET,{}}}", "${{oc.env:NOT_SET,{}}}", "${{SET_TO,5}}", "'{}'")
SOUND = {
    "step_scheduler.local_batch_size": "2",
    "step_scheduler.max_steps": "100",
    "distributed.tp_size": "1",
    "optimizer.lr": "1e-3",
    "dataloader.batch_size": "2",
    "dataset.seq_length": "32",
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _plan(bench: Bench, key: str, written: str, value: str = "") -> Plan:
    lines = "\n".join(f"{name}: {json.dumps(section)}" for name, section in BASE.items())
    more = ["run.env.nproc_per_node=2"]
    if key.startswith(("model.", "distributed.pipeline")):
        pipeline = "+distributed.pipeline={pp_schedule: 1f1b, pp_microbatch_size: 1}"
        more += [pipeline, "+distributed.pp_size=2", f"model.config={json.dumps(LLAMA)}"]
    return bench.planned(lines, *more, f"+{key}={written}", environ={**bench.environ, "SET_TO": value})


def _findings(plan: Plan) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in checks.run(plan)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", FAULTS)
def test_a_number_from_a_variable_is_checked_as_one(bench: Bench, key: str, form: str) -> None:
    value, code = FAULTS[key]
    plain = _findings(_plan(bench, key, value))
    assert code in [found for _, found in plain]
    assert _findings(_plan(bench, key, form.format(value), value)) == plain


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", SOUND)
def test_what_is_sound_as_a_number_is_so_from_a_variable(bench: Bench, key: str, form: str) -> None:
    plain = _findings(_plan(bench, key, SOUND[key]))
    assert _findings(_plan(bench, key, form.format(SOUND[key]), SOUND[key])) == plain
    assert "error" not in [level for level, _ in plain]


def test_what_travels_is_the_string_as_before(bench: Bench) -> None:
    plan = _plan(bench, "step_scheduler.max_steps", "${NOT_SET,5}")
    assert plan.config["step_scheduler"]["max_steps"] == "5"
    assert "max_steps: '5'" in plan.texts["config.yaml"]
    assert step_scheduler.max_steps(plan.config) == 5


@pytest.mark.parametrize("key", FAULTS)
def test_what_only_the_job_knows_is_not_judged_by_its_default(bench: Bench, key: str) -> None:
    value, code = FAULTS[key]
    found = _findings(_plan(bench, key, f"${{SLURM_NNODES,{value}}}"))
    assert ("error", code) not in found or key == "dataloader.batch_size"  # its reference is another than the local one


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1j", "(1, 2)", "{1}", "b'3'", "[1]", "true", "none"])
def test_whatever_else_a_string_stands_for_never_crashes(bench: Bench, text: str) -> None:
    for key in FAULTS:
        checks.run(_plan(bench, key, "${SET_TO}", text))
