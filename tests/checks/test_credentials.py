"""Findings about keys and tokens: looked at by their names, here and in a login shell of the cluster."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.backends.hub import gated
from automodel_launch.checks import Finding, credentials
from automodel_launch.checks.places import slurm
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import login_shell
from automodel_launch.remote.probes import Result, Results
from automodel_launch.remote.shell import LocalShell
from tests.workbench import Bench, make_bench

GATED, FREE = "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-0.6B"
CODES = ("wandb-key", "hf-token", "hub-offline", "not-forwarded")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "WANDB_MODE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return make_bench(tmp_path).trains()


def _model(name: str) -> dict[str, Any]:
    return {"model": {"_target_": "x.from_pretrained", "pretrained_model_name_or_path": name}}


def _run(plan: Plan) -> list[Finding]:
    assert {*credentials.CHECKS} <= {*checks.CHECKS}
    return [finding for check in credentials.CHECKS for finding in check(plan)]


def _codes(plan: Plan) -> list[str]:
    return [finding.code for finding in _run(plan) if finding.code in CODES]


def test_wandb_needs_a_key(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def codes(**section: Any) -> list[str]:
        return _codes(bench.planned(json.dumps({"wandb": {"project": "p", **section}})))

    plan = bench.planned("a: 1\nwandb: {project: p}\n")
    (finding,) = [finding for finding in _run(plan) if finding.code == "wandb-key"]
    assert finding.level == "error"
    assert "stub/t.yaml:2" in finding.message
    assert 'secrets = ["WANDB_API_KEY"]' in (finding.fix or "")
    for section in ({"mode": "offline"}, {"mode": "disabled"}, {"enable": False}):
        assert codes(**section) == []
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password x\n")
    assert codes() == []
    (tmp_path / ".netrc").unlink()
    for name, value in (("WANDB_API_KEY", "x"), ("WANDB_MODE", "offline")):
        monkeypatch.setenv(name, value)
        assert codes() == []
        monkeypatch.delenv(name)
    assert codes() == ["wandb-key"]


def test_wandb_of_the_profile_needs_a_key_too(bench: Bench) -> None:
    plan = bench.planned("a: 1\n", "run.env.track=['wandb:p']")
    (finding,) = [finding for finding in _run(plan) if finding.code == "wandb-key"]
    assert finding.level == "warning"
    assert "track (override run.env)" in finding.message
    assert "run.env.env_vars.WANDB_MODE=offline" in (finding.fix or "")
    assert plan.agent["env"]["WANDB_RUN_ID"].startswith(plan.run_name[:50])
    offline = bench.planned("a: 1\n", "run.env.track=['wandb:p']", "run.env.env_vars.WANDB_MODE=offline")
    assert "wandb-key" not in _codes(offline)


def test_a_gated_model_needs_a_token(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gated.known(GATED)
    assert not gated.known(FREE)
    assert _codes(bench.planned(json.dumps(_model(FREE)))) == []
    plan = bench.planned(json.dumps(_model(GATED)))
    (finding,) = [finding for finding in _run(plan) if finding.code == "hf-token"]
    assert finding.level == "warning"
    assert "model.pretrained_model_name_or_path" in finding.message
    assert GATED in finding.message
    (tmp_path / "hub" / "hub" / "models--meta-llama--Llama-3.1-8B").mkdir(parents=True)
    assert _codes(plan) == []
    (tmp_path / "hub" / "hub" / "models--meta-llama--Llama-3.1-8B").rmdir()
    (tmp_path / "hub" / "token").write_text("x")
    assert _codes(plan) == []
    (tmp_path / "hub" / "token").unlink()
    monkeypatch.setenv("HF_TOKEN", "x")
    assert _codes(plan) == []


def test_the_hub_switched_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert _codes(bench.planned(json.dumps(_model(FREE)))) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = bench.planned(json.dumps(_model(FREE)))
    (finding,) = [finding for finding in _run(plan) if finding.code == "hub-offline"]
    assert f"hf download {FREE}" in (finding.fix or "")


def test_a_secret_that_nothing_gives_to_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = bench.planned("a: 1\nb: {c: '${oc.env:MY_API_KEY}', d: '${oc.env:OTHER_TOKEN,none}'}\n")
    (finding,) = [finding for finding in _run(plan) if finding.code == "not-forwarded"]
    assert finding.level == "error"
    assert "b.c (stub/t.yaml:2) needs MY_API_KEY" in finding.message
    for key, value in (("setup_lines", "[export MY_API_KEY=$(cat f)]"), ("setup_lines", "[source ~/keys]")):
        assert _codes(bench.plan(f"run.env.{key}={value}", config="t")) == []
    monkeypatch.setenv("MY_API_KEY", "x")
    assert _codes(plan) == []
    slurm = bench.planned("b: '${oc.env:SLURM_JOB_ID}'\n")
    assert [f.level for f in _run(slurm) if f.code == "not-forwarded"] == ["warning"]
    assert _codes(bench.planned("b: '${oc.env:SLURM_JOB_ID,0}'\n")) == []


def test_a_login_shell_of_the_cluster_is_asked(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.env(
        '[far]\nexecutor = "slurm"\naccount = "a"\npartition = "p"\nnodes = 1\ngpus_per_node = 1\ntime = "1:00"\n'
        'tunnel = "ssh"\nhost = "login"\ncontainer_image = "none"\nremote_job_dir = "/shared/jobs"\n'
    )
    plan = bench.planned("a: 1\n", profile="far")
    assert credentials.at_login(plan) == {}
    plan = replace(plan, config={**_model(GATED), "wandb": {"project": "p"}})
    script = login_shell.question(credentials.at_login(plan)["credentials"])

    def answered() -> list[Finding]:
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert "hidden" not in done.stdout
        return list(credentials.answered(plan, Results({"credentials": Result(done.returncode, done.stdout)}, 0.0)))

    assert [finding.code for finding in answered()] == ["wandb-key", "hf-token"]
    (tmp_path / ".bash_profile").write_text("export WANDB_API_KEY=hidden HF_TOKEN=hidden\n")
    assert answered() == []
    (tmp_path / ".bash_profile").write_text("export HF_HUB_OFFLINE=true\n")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password hidden\n")
    assert [finding.code for finding in answered()] == ["hub-offline"]
    (tmp_path / "hub" / "hub" / "models--meta-llama--Llama-3.1-8B").mkdir(parents=True)
    assert answered() == []


def test_one_login_shell_is_started_for_all_that_is_asked_of_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start-up files may take seconds, on a login node that many share."""
    bench.env(
        '[far]\nexecutor = "slurm"\naccount = "a"\nnodes = 1\ngpus_per_node = 1\ncontainer_image = "none"\n'
        f'remote_job_dir = "{tmp_path}/jobs"\npython = "{tmp_path}/none"\n'
    )
    plan = bench.planned("a: 1\n", profile="far", offline=True)
    plan = replace(plan, config={**_model(GATED), "wandb": {"project": "p"}})
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bash_profile").write_text("echo started >> ~/started; export HF_TOKEN=hidden\n")

    def codes() -> set[str]:
        (tmp_path / "started").unlink(missing_ok=True)
        found = slurm.ask(plan, LocalShell(), None, str)
        return {one.code for one in found} & {"wandb-key", "hf-token", "training-python", "login-shell"}

    assert codes() == {"wandb-key", "training-python"}
    assert (tmp_path / "started").read_text() == "started\n"
    (tmp_path / ".bash_profile").write_text("exec tcsh -l\n")
    assert codes() == {"login-shell"}
