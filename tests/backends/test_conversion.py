"""What is found in a conversion's config before it is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import backends
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
    ],
)
def test_what_is_found(bench: Bench, tmp_path: Path, text: str, codes: list[str]) -> None:
    bench.script("stub", BLOCK)
    made = bench.planned(text.replace("HERE", str(tmp_path)))
    found = list(backends.of(made.recipe).checks(made))
    assert [one.code for one in found] == codes, found
    assert all(one.level == "error" and one.fix for one in found)
