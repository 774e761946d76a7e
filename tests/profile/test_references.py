"""`${oc.env:NAME,default}` in env.toml: resolved where a job is planned; secrets stay outside of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.errors import ProfileError
from automodel_launch.profile.profiles import load
from automodel_launch.profile.settled import settle
from tests.workbench import SHELL, SITE, Bench, make_bench, plan_on_slurm, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _settled(tmp_path: Path, keys: str, environ: Mapping[str, str] = SHELL) -> dict[str, Any]:
    path = tmp_path / "env.toml"
    path.write_text(f'[p]\nexecutor = "slurm"\n{keys}\n', encoding="utf-8")
    profile, _ = settle(load(path, "p").layers("p"), "p", environ, tmp_path)
    return profile.model_dump(exclude_unset=True)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"${oc.env:SITE_ACCOUNT}"', "physics"),
        ('"${oc.env:SITE_ACCOUNT,other}"', "physics"),
        ('"${oc.env:NOT_SET,other}"', "other"),
        ("\"${oc.env:NOT_SET,'other'}\"", "other"),
        ('"${oc.env:NOT_SET, other }"', "other"),
        ('"${ oc.env: NOT_SET , other }"', "other"),
        ('"${oc.env:NOT_SET,${oc.env:ALSO_NOT,deep}}"', "deep"),
        ('"${oc.env:USER,${oc.env:ALSO_NOT}}"', "me"),
        ('"a-${oc.env:USER}-${oc.env:NOT_SET,b}-c"', "a-me-b-c"),
        ('"${oc.decode:${oc.env:USER}}"', "me"),
        ('"$USER"', "$USER"),
    ],
)
def test_environment_references_are_resolved_where_they_stand(tmp_path: Path, written: str, value: str) -> None:
    assert _settled(tmp_path, f"account = {written}")["account"] == value


def test_no_reference_is_left_in_the_batch_script(bench: Bench) -> None:
    keys = 'account = "${oc.env:SITE_ACCOUNT,x}"\nsrun_args = ["--mpi=${oc.env:MPI,pmix}"]\n'
    keys += 'additional_parameters = {nice = "${oc.env:NOT_SET,5}", hold = "${oc.env:HOLD,true}"}\n'
    plan = plan_on_slurm(bench, SITE.replace("/me/", "/${oc.env:USER}/") + keys)
    assert "--account=physics" in plan.script
    assert "--mpi=pmix" in plan.script
    assert "--nice=5" in plan.script
    assert "#SBATCH --hold\n" in plan.script
    assert plan.job_root == "/lustre/me/jobs"
    assert "oc.env" not in plan.script + str(plan.document())


def test_a_value_that_a_variable_has_brought_says_so(bench: Bench) -> None:
    keys = 'account = "${oc.env:SITE_ACCOUNT}"\nqos = "${oc.env:NOT_SET,normal}"\nmounts = ["/${oc.env:USER}:/x"]\n'
    sources = plan_on_slurm(
        bench, keys, more='[p.env_vars]\nHF_HOME = "/${oc.env:USER}/${oc.env:USER}"\n'
    ).profile_sources
    assert (sources["account"], sources["qos"]) == ("env.toml [p], $SITE_ACCOUNT", "env.toml [p]")
    assert (sources["mounts"], sources["env_vars.HF_HOME"]) == ("env.toml [p], $USER", "env.toml [p], $USER")


def test_a_reference_takes_the_kind_of_its_key(tmp_path: Path) -> None:
    keys = 'nodes = "${oc.env:N,2}"\nexclusive = "${oc.env:X,true}"\nmem = "${oc.env:M,0}"\ntime = "${oc.env:T,10}"\n'
    keys += 'nproc_per_node = "${oc.env:P,auto}"\nmax_gpu_hours = "${oc.env:G,1.5}"'
    settled = _settled(tmp_path, keys)
    assert (settled["nodes"], settled["exclusive"], settled["mem"], settled["time"]) == (2, True, "0", "10")
    assert (settled["nproc_per_node"], settled["max_gpu_hours"]) == ("auto", 1.5)
    refused(ProfileError, lambda: _settled(tmp_path, 'nodes = "${oc.env:N,two}"'), "nodes", "[p]", "'two'", "integer")


def test_references_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    text = "${oc.env:NOT_SET," * 2000 + "x" + "}" * 2000
    refused(ProfileError, lambda: _settled(tmp_path, f'account = "{text}"'), "nested too deeply")


def test_a_default_of_null_is_as_if_the_key_were_not_there(tmp_path: Path) -> None:
    keys = 'account = "${oc.env:NOT_SET,null}"\nenv = ["A", "${oc.env:NOT_SET,null}"]'
    assert _settled(tmp_path, keys) == {"executor": "slurm", "env": ("A",)}


@pytest.mark.parametrize("key", ["account", "remote_job_dir", "startup_commands", "env_vars"])
def test_a_variable_that_is_not_set_is_named_with_its_place(bench: Bench, key: str) -> None:
    special = {"startup_commands": '["cd ${oc.env:NOT_SET}"]', "env_vars": '{ A = "${oc.env:NOT_SET}" }'}
    value = special.get(key, '"${oc.env:NOT_SET}"')
    bench.env(f'[p]\nexecutor = "slurm"\nnproc_per_node = 2\n{key} = {value}\n')
    refused(ProfileError, lambda: bench.plan(profile="p", environ=SHELL), key, "env.toml [p]", "NOT_SET", "DEFAULT")


@pytest.mark.parametrize("text", ["${oc.env:USER", "${oc.env:}", "${oc.env:a b,c}", "${oc.env:USER,${oc.env:X,y}"])
def test_a_reference_that_is_not_complete_is_refused(tmp_path: Path, text: str) -> None:
    refused(ProfileError, lambda: _settled(tmp_path, f'account = "{text}"'), "account", "[p]", "${oc.env:NAME}")


def test_another_key_of_the_profile_is_a_reference_but_not_in_shell_lines(tmp_path: Path) -> None:
    keys = (
        'workspace = "/lustre/${oc.env:USER}"\nremote_job_dir = "${workspace}/jobs"\nmounts = ["${workspace}/x:/x"]\n'
    )
    keys += 'startup_commands = ["echo ${workspace} ${HOME:-x} ${USER}"]\nenv_vars = {CACHE = "${HOME}/c"}'
    settled = _settled(tmp_path, keys)
    assert (settled["remote_job_dir"], settled["mounts"]) == ("/lustre/me/jobs", ("/lustre/me/x:/x",))
    assert settled["startup_commands"] == ("echo ${workspace} ${HOME:-x} ${USER}",)
    assert settled["env_vars"] == {"CACHE": "${HOME}/c"}
    refused(ProfileError, lambda: _settled(tmp_path, 'account = "${qos}"\nqos = "${account}"'), "circle", "account")


def test_sections_have_references_too(bench: Bench) -> None:
    bench.env('[wandb]\nproject = "${oc.env:PROJECT,mine}"\n[artifacts]\nroot = "/lustre/${oc.env:USER}"\n')
    text = "steps: 1\nvalue: ${run.wandb.project}\nother: ${run.artifacts.root}\n"
    plan = bench.planned(text, environ={**SHELL, "PROJECT": "theirs"})
    assert (plan.config["value"], plan.config["other"]) == ("theirs", "/lustre/me")
    bench.env('[wandb]\nproject = "${oc.env:PROJECT}"\n')
    refused(ProfileError, lambda: bench.planned(text, environ=SHELL), "project", "[wandb]", "PROJECT")


TOKEN = "hf_abcdefghijklmnop"


def test_a_secret_that_env_vars_forwards_becomes_one_of_secrets(bench: Bench) -> None:
    keys = "[p.env_vars]\nHF_TOKEN = \"${oc.env:HF_TOKEN,''}\"\nNGC_API_KEY = \"${oc.env:NGC_API_KEY,''}\"\nA = 'b'\n"
    plan = plan_on_slurm(bench, "", {**SHELL, "HF_TOKEN": TOKEN}, keys)
    assert plan.profile.secrets == ("HF_TOKEN",)
    assert dict(plan.profile.env_vars) == {"A": "b"}
    assert plan.profile_sources["secrets"] == "env.toml [p]"
    assert TOKEN not in str(plan.document()) + plan.script + str(plan.agent)


def test_a_secret_without_a_default_must_be_set(bench: Bench) -> None:
    plan = plan_on_slurm(bench, "", SHELL, '[p.env_vars]\nHF_TOKEN = "${oc.env:HF_TOKEN}"\n')
    found = [f for f in checks.run(plan, offline=True) if f.code == "unset-name"]
    assert [f.level for f in found] == ["error"]
    assert "HF_TOKEN" in found[0].message


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('[p.env_vars]\nHF_TOKEN = "${oc.env:MY_TOKEN}"\n', ("env_vars.HF_TOKEN", 'export HF_TOKEN="$MY_TOKEN"')),
        ('[p.env_vars]\nOTHER = "${oc.env:HF_TOKEN,x}"\n', ("env_vars.OTHER", "HF_TOKEN")),
        ('[p.env_vars]\nHF_TOKEN = "${oc.env:HF_TOKEN,hf_writtendownhere}"\n', ("HF_TOKEN", "secret")),
        ('startup_commands = ["login ${oc.env:HF_TOKEN}"]\n', ("startup_commands", "$HF_TOKEN")),
        ('secrets = ["PLAIN"]\nqos = "${oc.env:PLAIN}"\n', ("qos", "PLAIN")),
        ('mounts = ["/a:/${oc.env:USER,${oc.env:HF_TOKEN}}"]\n', ("mounts", "HF_TOKEN")),
    ],
)
def test_a_secrets_value_never_enters_a_profile(bench: Bench, keys: str, words: tuple[str, ...]) -> None:
    environ = {"MY_TOKEN": TOKEN, "PLAIN": TOKEN, "HOME": "/home/me"}
    if "writtendown" not in keys:
        environ["HF_TOKEN"] = TOKEN
    text = refused(ProfileError, lambda: plan_on_slurm(bench, "", environ, keys), *words)
    assert TOKEN not in text
    assert "writtendown" not in text
