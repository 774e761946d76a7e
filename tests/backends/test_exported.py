"""What is found in an export-check's config, and in its directory, before it is submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import backends
from tests.workbench import Bench, make_bench

BLOCK = '[tool.runspec]\nbackend = "export-check"\n[tool.runspec.config]\ndir = "stub"'
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
CONFIG, TOKENIZER = {"config.json": "{}"}, {"tokenizer.json": "{}"}
WHOLE = {**CONFIG, **TOKENIZER, "model.safetensors": ""}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = make_bench(tmp_path_factory.mktemp("exported"))
    made.script("stub", BLOCK)
    return made


@pytest.mark.parametrize(
    ("files", "more", "told"),
    [
        (WHOLE, "", []),
        (WHOLE, "most: null\n", []),
        ({**CONFIG, **TOKENIZER, "pytorch_model.bin": ""}, "", []),
        ({**WHOLE, "model.safetensors.index.json": INDEX}, "", []),
        (CONFIG | TOKENIZER, "", ["no-model: there are no weights"]),
        (CONFIG | {"model.safetensors": ""}, "", ["no-tokenizer: there is no tokenizer"]),
        (WHOLE | {"config.json": "{"}, "", ["no-model: its config.json is not a JSON object"]),
        (
            {**CONFIG, **TOKENIZER, "model.safetensors.index.json": INDEX, "model-1.safetensors": ""},
            "",
            ["no-model: model-2.safetensors is not in it"],
        ),
        (WHOLE, "text: ''\n", ["wrong-type: text = ''"]),
        (WHOLE, "text: null\n", ["missing-key: text is not given"]),
        (WHOLE, "most: 0\n", ["bad-value: most = 0"]),
        (WHOLE, "most: high\n", ["wrong-type: most = 'high'"]),
        (WHOLE, "modl: a\n", ["ignored-key: modl = 'a'"]),
        (WHOLE, "seed: 1\n", ["ignored-key: seed = 1"]),
    ],
)
def test_what_is_found(bench: Bench, tmp_path: Path, files: dict[str, str], more: str, told: list[str]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    lines = {"model": f"model: {tmp_path}\n", "text": "text: a\n", "most": "most: 12.0\n"}
    text = "".join(line for key, line in lines.items() if not more.startswith(f"{key}:")) + more
    made = bench.planned(text)
    found = list(backends.of(made.recipe).checks(made))
    assert len(found) == len(told), found
    for one, words in zip(found, told, strict=True):
        code, _, message = words.partition(": ")
        assert one.code == code and message in one.message and one.fix, one
        assert one.level == ("warning" if "seed" in words else "error")
