"""What is secret, what is forwarded, and the file that only its owner can read."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.errors import ClusterError, ConfigError, ProfileError
from automodel_launch.launch import submit
from automodel_launch.plan import secrets
from automodel_launch.profile import secret_names
from automodel_launch.remote.filesystem import LOCAL, FileSystem, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.conftest import STUB_CONFIG
from tests.workbench import Bench, make_bench, refused

NASTY = "a'b\"c $HOME `id` \\ \n#x;\té"
SLURM = '[c]\nexecutor = "slurm"\ngpus_per_node = 2\ntime = "1"\nremote_job_dir = "{root}/jobs"\n{more}\n'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # NeMo-Run reads it to make a script; pytest refuses that
    return make_bench(tmp_path)


def _slurm(bench: Bench, more: str) -> None:
    bench.env(SLURM.format(root=bench.root, more=more))


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password"])
def test_names_that_say_so(name: str) -> None:
    assert secret_names.is_secret(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "HF_HOME", "KEYBOARD", "PASSAGE"])
def test_names_that_do_not(name: str) -> None:
    assert not secret_names.is_secret(name)


@pytest.mark.parametrize("value", [NASTY, "", " ", "\n", "a\nHF_TOKEN=b", "\udcff\udc80", "x" * 100_000])
def test_bash_reads_each_value_as_it_is(tmp_path: Path, value: str) -> None:
    path = tmp_path / "secrets.env"
    secrets.write(LOCAL, str(path), secrets.file_content(["A", "B", "UNSET"], {"A": value, "B": "b"}))
    script = f'set -a; . {path}; printf %s "$A"; printf \'|%s|%s\' "$B" "${{UNSET-unset}}"'
    out = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert out == value.encode("utf-8", "surrogateescape") + b"|b|unset"


@pytest.mark.parametrize("place", [LOCAL, RemoteFileSystem(LocalShell())])
def test_the_file_is_its_owners_alone_and_new(tmp_path: Path, place: FileSystem) -> None:
    path = tmp_path / "it's" / "secrets.env"
    path.parent.mkdir()
    old = os.umask(0)
    try:
        secrets.write(place, str(path), b"A=b\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"A=b\n"
    with pytest.raises(ClusterError) as caught:
        secrets.write(place, str(path), b"A=hidden\n")
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize("place", [LOCAL, RemoteFileSystem(LocalShell())])
def test_a_folder_that_is_not_there(tmp_path: Path, place: FileSystem) -> None:
    refused(ClusterError, lambda: secrets.write(place, f"{tmp_path}/no/secrets.env", b""), "cannot be written")


def test_the_plan_has_names_and_no_values(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "value-of-the-secret")
    _slurm(bench, 'secrets = ["HF_TOKEN"]')
    plan = bench.plan(profile="c")
    everything = f"{plan.document()} {plan.agent} {plan.texts} {plan.script} {plan!r}"
    assert "value-of-the-secret" not in everything
    assert plan.agent["secrets_file"] == f"{plan.job_dir}/secrets.env"
    assert "HF_TOKEN" in plan.document()["env"]
    monkeypatch.setenv("HF_TOKEN", "another")
    assert bench.plan(profile="c").plan_hash == plan.plan_hash


def test_forwarded_values_are_part_of_the_plan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _slurm(bench, 'env = ["FORWARDED", "NOT_SET"]')
    monkeypatch.setenv("FORWARDED", NASTY)
    plan = bench.plan(profile="c")
    assert plan.agent["env"]["FORWARDED"] == NASTY
    assert "NOT_SET" not in plan.agent["env"]
    assert plan.agent["secrets_file"] is None
    assert "FORWARDED" in plan.document()["env"]
    assert NASTY not in plan.script
    monkeypatch.setenv("FORWARDED", "another")
    assert bench.plan(profile="c").plan_hash != plan.plan_hash


def test_env_vars_of_the_profile_win_over_forwarded_ones(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _slurm(bench, 'env = ["BOTH"]\nenv_vars = {BOTH = "profile"}')
    monkeypatch.setenv("BOTH", "shell")
    assert bench.plan(profile="c").agent["env"]["BOTH"] == "profile"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('env = ["HF_TOKEN"]', ["env", "HF_TOKEN", "secrets ="]),
        ('env = ["A B"]', ["env", "'A B'", "variable"]),
        ('secrets = ["1A"]', ["secrets", "'1A'"]),
        ('secrets = ["A;id"]', ["secrets", "'A;id'"]),
        ('secrets = ["A"]\nenv = ["A"]', ["secrets", "A", "env"]),
        ('secrets = ["A"]\nenv_vars = {A = "1"}', ["secrets", "A", "env_vars"]),
        ('env_vars = {"A B" = "1"}', ["env_vars", "'A B'"]),
        ('env_vars = {A = "\\u0000"}', ["env_vars", "A", "NUL"]),
        ('setup_lines = "a\\u0000"', ["setup_lines", "NUL"]),
    ],
)
def test_refused_at_planning(bench: Bench, more: str, words: list[str]) -> None:
    _slurm(bench, more)
    refused(ProfileError, lambda: bench.plan(profile="c"), *words)


def test_a_value_that_json_cannot_carry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _slurm(bench, 'env = ["LATIN"]')
    monkeypatch.setenv("LATIN", "\udce9")
    refused(ProfileError, lambda: bench.plan(profile="c"), "LATIN", "UTF-8")


def test_a_local_job_inherits_and_needs_no_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S", "s")
    bench.env('secrets = ["S"]\nenv = ["PATH"]\n')
    plan = bench.plan()
    assert plan.agent["secrets_file"] is None
    assert "PATH" not in plan.agent["env"]


class _Refuses:
    """An executor whose submission fails after the directory is written."""

    def __init__(self, seen: list[Any], plan: Any) -> None:
        self.seen, self.real = seen, executors.get(plan.executor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def submit(self, plan: Any, workspace: Any, environ: Any) -> Any:
        path = Path(plan.job_dir, "secrets.env")
        self.seen.append((path.read_bytes(), stat.S_IMODE(path.stat().st_mode)))
        raise ClusterError("refused")


def test_a_refused_submission_leaves_no_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", NASTY)
    _slurm(bench, 'secrets = ["HF_TOKEN"]')
    plan = bench.plan(profile="c")
    seen: list[Any] = []
    fake = _Refuses(seen, plan)
    monkeypatch.setattr(executors, "get", lambda name: fake)
    refused(ClusterError, lambda: submit.submit(plan, bench.workspace), "refused")
    ((content, mode),) = seen
    assert mode == 0o600
    script = f'{content.decode()}printf %s "$HF_TOKEN" | sha256sum'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == hashlib.sha256(NASTY.encode()).hexdigest()
    assert not Path(plan.job_dir).exists()


URL = "https://me:pa55w0rd@proxy.example:3128/x"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (f'env_vars = {{http_proxy = "{URL}"}}', ["env_vars.http_proxy", "env.toml [c]", 'secrets = ["http_proxy"]']),
        ('env_vars = {WANDB_KEY = "pa55w0rd"}', ["env_vars.WANDB_KEY", "secret's value", 'secrets = ["WANDB_KEY"]']),
        (f'setup_lines = ["true", "git clone {URL}"]', ["setup_lines.1", "password in a URL"]),
        (f'setup_lines = "git clone {URL}"', ["setup_lines", "password in a URL"]),
        (
            "startup_commands = [\"export GH_PAT='pa55w0rd'\"]",
            ["startup_commands.0", "GH_PAT=..."],
        ),
        ('startup_commands = ["PGPASSWORD=pa55w0rd psql"]', ["PGPASSWORD"]),
        ('docker_args = ["-e", "DB_PASS=pa55w0rd"]', ["docker_args.1", "DB_PASS"]),
        ('srun_args = ["--export=ALL,SSHPASS=pa55w0rd"]', ["srun_args.0", "SSHPASS"]),
        ('container_image = "docker://me:pa55w0rd@registry.example/a:1"', ["container_image", "password in a URL"]),
        (
            "setup_lines = [\"curl -H 'Authorization: Bearer hf_pa55w0rdpa55w0rdpa55w0rd' https://h\"]",
            ["setup_lines.0", "a token"],
        ),
        ('env_vars = {HEADER = "Bearer glpat-pa55w0rd_pa55w0rdpa55"}', ["env_vars.HEADER", 'secrets = ["HEADER"]']),
        ('env = ["DATABASE"]', ["env (", "DATABASE", 'secrets = ["DATABASE"]']),
    ],
)
def test_a_secret_that_is_written_down_is_refused_and_not_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, more: str, words: list[str]
) -> None:
    monkeypatch.setenv("DATABASE", URL)
    _slurm(bench, more)
    assert "pa55w0rd" not in refused(ProfileError, lambda: bench.plan(profile="c"), *words)


@pytest.mark.parametrize(
    "more",
    [
        'setup_lines = ["export HF_TOKEN=$(cat ~/.token)", "export WANDB_KEY=$MINE; git clone https://me:$TOK@host/x"]',
        'setup_lines = ["export MAX_TOKENS=123456789012", "export TEXT_KEY=contents", "curl https://host:8080/a@b"]',
        'setup_lines = ["unset HF_TOKEN", "export HF_TOKEN=", "HF_TOKEN_PATH=/a/longer/path true"]',
        'setup_lines = ["pip install hf_transfer", "cd /data/sk-learn-models-2024", "echo ghp_short nvapi-docs"]',
        'env_vars = {EOS_TOKEN = "<|endoftext|>", HF_HUB_DISABLE_IMPLICIT_TOKEN = "1"}',
        'env_vars = {GOOGLE_APPLICATION_CREDENTIALS = "/home/me/key.json", MIRROR = "https://host:8443/simple"}',
    ],
)
def test_what_only_looks_like_one_is_planned(bench: Bench, more: str) -> None:
    _slurm(bench, more)
    bench.plan(profile="c")


def test_a_password_in_a_config_is_refused_wherever_it_comes_from(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE", URL)
    bench.config(STUB_CONFIG + f"deep: {{list: [1, '{URL}']}}\n", "own")
    bench.config(STUB_CONFIG + "url: ${oc.env:DATABASE}\n", "shell")
    for config, words in (("own", ["deep.list.1", "own.yaml:"]), ("shell", ["url", "shell.yaml:", "secrets"])):
        assert "pa55w0rd" not in refused(ConfigError, functools.partial(bench.plan, config=config), *words)
    assert "pa55w0rd" not in refused(ConfigError, lambda: bench.plan(f"value={URL}"), "value (override")
    bench.env('secrets = ["DATABASE"]\n')
    assert bench.plan(config="shell").config["url"] == "${oc.env:DATABASE}"
