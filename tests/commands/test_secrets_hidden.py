"""Secrets that are written down where they do not belong are shown by no command and no refusal."""

from __future__ import annotations

import json

import pytest

from automodel_launch.profile import hidden
from tests.commands.conftest import Cli

DRAWN = "abcdefabcdef0123456789"
ISSUED = "hf_abcdefABCDEF0123456789"
PROFILE = """
[x]
executor = "slurm"
partition = "p"
setup_lines = ["curl -H 'Authorization: Bearer hf_Geheim123456Geheim123456' https://h/x"]
startup_commands = ["export WANDB_API_KEY=Geheim123456", "echo 'MY_PASSWORD=Geheim123456'"]
container_image = "docker://ada:Geheim123456@nvcr.io/x/y"

[x.env_vars]
HF_TOKEN = "Geheim123456"
U = "https://ada:Geheim123456@h/x"
WANDB_API_KEY = "${oc.env:WANDB_API_KEY,Geheim123456}"
"""
OPEN = """
[x]
executor = "slurm"
partition = "p"
host = "login.example.org"
startup_commands = ["export MAX_TOKENS=123456789012", "export HF_TOKEN=$OTHER_TOKEN"]
container_image = "ubuntu:22.04@sha256:0123456789abcdef"

[x.env_vars]
TOKENIZER = "Qwen3Tokenizer2025abc"
PAD_TOKEN = "endoftext0123456789"
U = "https://ada@h/x"
HF_TOKEN = "${oc.env:HF_TOKEN}"
"""


@pytest.mark.parametrize("argv", [("x",), ("x", "--json"), (), ("--json",)])
def test_profiles_shows_no_secret(launch: Cli, argv: tuple[str, ...]) -> None:
    launch.bench.env(PROFILE)
    code, out, err = launch("profiles", *argv)
    assert code == 0
    assert "Geheim" not in out + err
    assert "nvcr.io/x/y" in out and "ada:***@" in out


def test_profiles_shows_what_is_no_secret(launch: Cli) -> None:
    launch.bench.env(OPEN)
    values = json.loads(launch("profiles", "x", "--json")[1])["values"]
    assert "***" not in json.dumps(values)
    assert values["env_vars"]["PAD_TOKEN"] == "endoftext0123456789"
    assert values["env_vars"]["HF_TOKEN"] == "${oc.env:HF_TOKEN}"


@pytest.mark.parametrize(
    "override",
    [
        *(f"wandb.api_key={DRAWN}", f"HF_TOKEN={ISSUED}", "x.password=a)b,c'correcthorse", f"model.hf_token={ISSUED}"),
        *(f"run.env.env_vars.HF_TOKEN=@{ISSUED}", f"~wandb.api_key={ISSUED}", f"wandb.api_key:{ISSUED}"),
        *(
            f"o.lr.token={ISSUED}",
            f"+wandb.api_key=@{ISSUED}",
            f'wandb={{"api_key": "{ISSUED}"',
            f"--o.hf_token={ISSUED}",
        ),
        *(f"u=https://ada:{DRAWN}@h/x", f"+run.env.env_vars.HF_TOKEN={ISSUED}", f"HF_TOKEN='{ISSUED}'"),
    ],
)
def test_a_refused_override_does_not_show_its_secret(launch: Cli, override: str) -> None:
    for argv in (("stub", override), ("stub", override, "--dry-run", "--json")):
        code, out, err = launch(*argv)
        assert code == 2
        assert "***" in err or "secret" in err
        assert not any(secret in out + err for secret in (DRAWN, ISSUED, "correcthorse"))


@pytest.mark.parametrize(
    "override",
    [
        *("tokenizer=Qwen3Tokenizer2025abcdef", "max_tokens=123456789012", "pad_token=endoftext0123456789"),
        *("eos_token='<|endoftext|>'", "text_key=abcdefghij0123456789", "api_key=dummy", "hf_token=${oc.env:HF_TOKEN}"),
        *("HF_TOKEN=$HF_TOKEN", "password_file=/run/secrets/abcdef0123456789", "SORT_KEY=column_of_the_data"),
    ],
)
def test_a_refused_override_shows_what_is_no_secret(launch: Cli, override: str) -> None:
    launch.refused(2, ("stub", override), override)


@pytest.mark.parametrize(
    "text",
    [
        "env_vars names HF_TOKEN, a secret: its value would stand in the plan and in the job's files.",
        'export HF_TOKEN=..., and secrets = ["HF_TOKEN"] in the profile',
        "HF_TOKEN: something in words is said about it",
        'HF_TOKEN = "${oc.env:HF_TOKEN}" in the profile',
    ],
)
def test_what_is_said_about_a_secret_stays(text: str) -> None:
    assert hidden.message(text, None) == [text, None]


@pytest.mark.parametrize(
    "line",
    [
        "env_vars = {HF_TOKEN = 12345678901}",
        "env_vars = {HF_TOKEN = [12345678901]}",
        'host = "ada:12345678901@login"',
        'host = "ada:12345678901@login:22"',
    ],
)
def test_an_error_about_a_value_s_kind_does_not_show_a_secret(launch: Cli, line: str) -> None:
    launch.bench.env(f'[x]\nexecutor = "slurm"\n{line}\n')
    assert "12345678901" not in launch.refused(2, ("profiles", "x"), "***", "is not valid")


def test_a_login_in_an_image_without_a_scheme_is_a_password(launch: Cli) -> None:
    image = "ada:Geheim123456@nvcr.io/x/y"
    launch.bench.env(f'[x]\nexecutor = "slurm"\npartition = "p"\nremote_job_dir = "/t"\ncontainer_image = "{image}"\n')
    err = launch.refused(2, ("stub", "--batch", "x", "--dry-run"), "container_image (env.toml [x])", "a password")
    assert "Geheim" not in err + launch("profiles", "x")[1]


@pytest.mark.parametrize(
    "image",
    [
        *("ubuntu:22.04@sha256:abc", "nvcr.io:5000/x/y:1", "reg.io:5000/u:2@sha256:0f", "docker://u@reg.io#x/y:1"),
        *("ubuntu:22@sha256", "/images/a:b@c.sqsh", "ada:$PW@nvcr.io/x", "nvcr.io#nvidia/nemo:25.04"),
    ],
)
def test_images_without_a_login(image: str) -> None:
    assert hidden.password("container_image", image) is None
    assert hidden.value("container_image", image) == image


def test_a_reference_that_is_not_closed_does_not_show_its_default(launch: Cli) -> None:
    table = '[x]\nexecutor = "local"\nnproc_per_node = 1\nenv_vars = {HF_TOKEN = "${oc.env:HF_TOKEN,Geheim123456"}\n'
    launch.bench.env(table)
    err = launch.refused(2, ("stub", "--batch", "x", "--dry-run"), "env_vars.HF_TOKEN", "is not closed")
    assert "Geheim" not in err
    launch.bench.env(table.replace("HF_TOKEN", "MAX_TOKENS"))
    launch.refused(2, ("stub", "--batch", "x", "--dry-run"), "Geheim123456", "is not closed")
