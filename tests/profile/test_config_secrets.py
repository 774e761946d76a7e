"""Secrets that are written into a training config, told from what only has such a name."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from automodel_launch.errors import ConfigError
from automodel_launch.profile import config_secrets
from tests.conftest import STUB_CONFIG
from tests.workbench import Bench, make_bench, refused

HEX = "0f3a9c5e7b1d4826a0f3a9c5e7b1d4826a0f3a9c"
HUB = "hf_" + "qZWvlKRtybNMhgfDSapOIuewxCZrtqJKbn"  # letters alone


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


WRITTEN = [
    ("wandb.api_key", HEX),
    ("wandb.apiKey", "abc12345"),
    ("api_key", "abc12345def"),
    ("comet.api.key", "abc12345def"),
    ("model.token", HUB),
    ("model.token", f"hf_{HEX}"),
    ("hf_token", "hf_abc123"),
    ("tokenizer.use.auth_token", "hf_abc123"),
    ("db.password", "correcthorse"),
    ("db.password", 12345678901),
    ("store.secret_access_key", "wJalrXUtnFEMIK7MDENGbPxRfiCY"),
    ("client_secret", "s3cr3ts"),
    ("tracker.wandb_key", HEX),
    ("tracker.basic_auth", f"me:{HEX}"),
    ("peers.0.api_key", "abc12345def"),
]
NOT_WRITTEN = [
    ("tokenizer", "mistralai/Mistral-7B-v0.1"),
    ("dataset.token_ids", "0123456789abcdef0123"),
    ("pad_token", "<|endoftext|>"),
    ("eos_token", "0123456789abcdef0123"),
    ("think_token", "<think>"),
    ("boi_token", "<|start_of_image|>"),
    ("response_token", "### Response: 12345678"),
    ("assistant_token", "[ASSISTANT_TURN_1]"),
    ("max_tokens", 1099511627776),
    ("tokens_per_batch", 12345678901),
    ("key_padding_mask", "causal_and_padding_2024"),
    ("attention.key", "query_key_value_proj"),
    ("model.key", "hidden_states_0"),
    ("answer_key", "extracted_solution_2024_v2"),
    ("question_key", "someVeryLongCamelCaseColumnName"),
    ("question_key", "fromTheHTTPResponseOfTheRESTAPI"),
    ("text_key", "0123456789abcdef0123"),
    ("cache_key", "llama3-8b-0123456789abcdef"),
    ("api_key", "dummy_key"),
    ("api_key", "EMPTY"),
    ("api_key", "your-api-key-1234"),
    ("api_key", "${oc.env:API_KEY}"),
    ("api_key", "${oc.env:API_KEY,''}"),
    ("api_key_env", "NVIDIA_API_KEY_2"),
    ("hf_token", "host:HF_TOKEN"),
    ("secrets.HF_TOKEN", "HF_TOKEN"),
    ("secrets", "WANDB_API_KEY_2"),
    ("credentials", "/secure/team/key.json"),
    ("credentials", "~/key1.json"),
    ("credentials.url", "s3://bucket/a1"),
    ("password_file", "s3cr3t-file-1"),
    ("use_auth_token", True),
    ("single_pass", "forward_only_1"),
    ("token", None),
    ("token", ""),
    ("steps", 12345678901),
]


@pytest.mark.parametrize(("key", "value"), WRITTEN)
def test_a_secret_that_is_written_into_a_config_is_one(key: str, value: object) -> None:
    assert config_secrets.is_written(key, value)


@pytest.mark.parametrize(("key", "value"), NOT_WRITTEN)
def test_what_only_has_such_a_name_is_none(key: str, value: object) -> None:
    assert not config_secrets.is_written(key, value)


def test_a_key_of_a_config_with_a_literal_secret_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    monkeypatch.setenv("MINE", HEX)
    bench.config(STUB_CONFIG + f"deep: {{list: [{{api_key: {HEX}}}]}}\n", "own")
    bench.config(STUB_CONFIG + "wandb: {api_key: '${oc.env:MINE}'}\n", "shell")
    for config, words in (("own", ["deep.list.0.api_key", "own.yaml:"]), ("shell", ["wandb.api_key", "shell.yaml:"])):
        said = refused(ConfigError, functools.partial(bench.plan, config=config), "a secret's value", *words)
        assert HEX not in said and "secrets = " in said
    for text in (f"+wandb.api_key={HEX}", f"+wandb={{api_key: {HEX}}}"):
        assert HEX not in refused(ConfigError, functools.partial(bench.plan, text), "wandb.api_key", "override")


def test_the_way_that_the_hint_names_is_planned(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setenv("WANDB_API_KEY", HEX)
    name = config_secrets.variable("wandb.api_key")
    monkeypatch.setenv(name, HEX)
    bench.env(f'secrets = ["{name}"]\n')
    plan = bench.plan(f"+wandb.api_key=${{oc.env:{name}}}")
    assert plan.config["wandb"]["api_key"] == f"${{oc.env:{name}}}"
    assert HEX not in f"{plan.document()} {plan.texts} {plan.script}"
