"""What is found in a conversion's config before it is submitted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from automodel_launch import backends, contract
from automodel_launch.backends.conversion import BRIDGES
from tests.workbench import Bench, make_bench

BLOCK = (
    '[tool.runspec]\nbackend = "conversion"\n[tool.runspec.config]\ndir = "stub"\n'
    'optional = ["hf", "step", "dtype", "trust_remote_code"]'
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("conversion"))


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\n", []),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\nstep: 3\ndtype: bfloat16\n", []),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: HERE/new\n", []),
        ("direction: hf-to-megatron\nsource: HERE\noutput: HERE/new\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE/none\noutput: HERE/new\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\nhf: HERE/none\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: runs/a\noutput: new\n", ["relative-path", "relative-path"]),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\nstep: last\n", ["wrong-type"]),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\ndtype: bf16\n", ["bad-value"]),
        ("direction: hf-to-megatrn\nsource: HERE\noutput: HERE/new\n", ["bad-value"]),
        ("direction: megatron-to-hf\nsource: null\noutput: HERE/new\n", ["missing-key"]),
        ("direction: megatron-to-hf\nsource: HERE/iter_0000003\noutput: HERE/new\n", []),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\nstep: 4\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE/own\noutput: HERE/new\n", ["missing-key"]),
        ("direction: megatron-to-hf\nsource: HERE/own\noutput: HERE/new\nhf: Qwen/Qwen3-8B\n", []),
        ("direction: megatron-to-hf\nsource: HERE/hf_config\noutput: HERE/new\n", ["no-model"]),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: ~/new\n", ["relative-path"]),
        ("direction: megatron-to-hf\nsource: ~/runs\noutput: HERE/new\n", ["relative-path"]),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: HERE/new\ntp: 8\n", ["unknown-key"]),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: HERE/file/new\n", ["checkpoint-dir"]),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: HERE/file\n", ["checkpoint-dir"]),
        ("direction: hf-to-megatron\nsource: Qwen/Qwen3-8B\noutput: HERE/hf_config\n", ["bad-value"]),
        ("direction: hf-to-megatron\nsource: HERE/hf_config\noutput: HERE/hf_config\n", ["bad-value", "no-model"]),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/hf_config\n", ["bad-value"]),  # a part of a model
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/made\n", []),  # complete: nothing is left to do
        ("direction: hf-to-megatron\nsource: a/b\noutput: HERE/half\n", ["bad-value"]),
        ("direction: hf-to-megatron\nsource: HERE/hf_config\noutput: HERE/new\n", ["no-model"]),  # no weights
        ("direction: hf-to-megatron\nsource: a/b\noutput: HERE/new\ntrust_remote_code: maybe\n", ["wrong-type"]),
        ("direction: megatron-to-hf\nsource: HERE/cut\noutput: HERE/new\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE/cut/iter_0000005\noutput: HERE/new\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE/cut\noutput: HERE/new\nstep: 3\n", ["no-model"]),
        ("direction: hf-to-megatron\nsource: HERE/falcon\noutput: HERE/new\n", ["no-model"]),
        ("direction: megatron-to-hf\nsource: HERE\noutput: HERE/new\nhf: HERE/falcon\n", ["no-model"]),
        ("direction: hf-to-megatron\nsource: HERE/own-code\noutput: HERE/new\n", []),
        (f"direction: megatron-to-hf\nsource: HERE/{'a' * 300}\noutput: HERE/{'b' * 300}\n", ["no-model"]),
    ],
)
def test_what_is_found(bench: Bench, tmp_path: Path, text: str, codes: list[str]) -> None:
    """HERE is a run's directory of checkpoints, HERE/own one that another launcher has left."""
    for name in ("iter_0000003", "hf_config", "own/iter_0000003"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("iter_0000003", "own/iter_0000003"):
        for part in contract.MEGATRON_PARTS:
            (tmp_path / name / part).touch()
    for name in ("cut/iter_0000003", "cut/iter_0000005", "cut/hf_config", "falcon", "own-code"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cut" / "iter_0000005" / ".metadata").touch()
    (tmp_path / "cut" / "hf_config" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "falcon" / "config.json").write_text('{"architectures": ["FalconForCausalLM"]}')
    (tmp_path / "falcon" / "model.safetensors").touch()
    (tmp_path / "own-code" / "config.json").write_text(
        '{"architectures": ["MyLM"], "auto_map": {"AutoModel": "m.MyLM"}}'
    )
    (tmp_path / "own-code" / "model.safetensors").touch()
    (tmp_path / "hf_config" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    for name in ("made/config.json", "made/model.safetensors", "half/latest_train_state.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    bench.script("stub", BLOCK)
    made = bench.planned(text.replace("HERE", str(tmp_path)))
    found = list(backends.of(made.recipe).checks(made))
    assert [one.code for one in found] == codes, found
    assert all(one.level == "error" and one.fix for one in found)


def test_keys_of_the_other_direction_are_not_read(bench: Bench, tmp_path: Path) -> None:
    bench.script("stub", BLOCK)
    made = bench.planned(f"direction: hf-to-megatron\nsource: a/b\noutput: {tmp_path}/new\nstep: 3\nhf: a/b\n")
    found = list(backends.of(made.recipe).checks(made))
    assert [(one.level, one.code, one.fix) for one in found] == [
        ("warning", "ignored-key", "~step"),
        ("warning", "ignored-key", "~hf"),
    ]


def test_the_architectures_are_those_of_the_installed_bridge() -> None:
    """Its models are read, not imported."""
    root = Path(__file__).parents[2] / ".venv-bridge/lib"
    models = next(root.glob("python3*/site-packages/megatron/bridge/models"), None)
    if models is None:
        pytest.skip("scripts/setup.sh --bridge installs it")
    text = "".join(path.read_text() for path in models.rglob("*.py"))
    found = set(re.findall(r"@MegatronModelBridge\.register_bridge\(\s*(?:source=)?[\"']?(\w+)", text))
    assert {name for name in found if name[0].isupper()} <= set(BRIDGES) and "LlamaForCausalLM" in found
