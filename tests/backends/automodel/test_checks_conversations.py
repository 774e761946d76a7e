"""Finetuning's JSONL files are looked at before the queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.plan.finding import Finding
from tests.workbench import Bench, make_bench

LLM = "nemo_automodel.components.datasets.llm"
CHAT = f"{LLM}.chat_dataset.ChatDataset"
COLUMNS = f"{LLM}.column_mapped_text_instruction_dataset.ColumnMappedTextInstructionDataset"
GOOD = json.dumps({"messages": [{"role": "user", "content": "7?"}, {"role": "assistant", "content": "yes"}]})
SHARED = json.dumps({"conversations": [{"from": "human", "value": "7?"}]})
MAPPED = {"column_mapping": {"question": "q", "answer": "a"}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def found(bench: Bench, target: str, path: object, **more: object) -> list[Finding]:
    section = {"_target_": target, "path_or_dataset_id": path, "seq_length": 32, **more}
    plan = bench.planned(f"dataset: {json.dumps(section)}")
    codes = ("no-data", "bad-conversations", "relative-path")
    return [finding for finding in checks.run(plan) if finding.code in codes]


@pytest.mark.parametrize(("target", "text", "more", "words"), [
    (CHAT, f"{GOOD}\n\n{SHARED}\n", {}, []),
    (CHAT, f"{GOOD}\nno\n", {}, ["line 2 is not JSON"]),
    (CHAT, f"{GOOD}\nno\n", {"skip_invalid_samples": True}, []),
    (CHAT, '{"text": "a", "id": 1}\n', {}, ["line 1 has no list `messages`", "text, id", '"role": "user"']),
    (CHAT, '{"messages": [{"content": "a"}]}', {}, ["line 1 has a turn without 'role'"]),
    (CHAT, "[1]\n", {}, ["line 1 is list"]),
    (CHAT, "\n", {}, ["no rows"]),
    (COLUMNS, '{"q": "a", "a": "b"}\n', MAPPED, []),
    (COLUMNS, '{"q": "a", "answer": "b"}\n', MAPPED, ["line 1 has no field 'a'", "q, answer", "column_mapping"]),
])  # fmt: skip
def test_rows(bench: Bench, tmp_path: Path, target: str, text: str, more: dict[str, object], words: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    findings = found(bench, target, str(path), **more)
    assert [(f.level, f.code) for f in findings] == ([("error", "bad-conversations")] if words else [])
    assert all(word in f"{findings[0].message} {findings[0].fix}" for word in words)


def test_a_missing_file_and_a_relative_one_are_found_and_a_hub_id_is_no_path(bench: Bench, tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(GOOD)
    (gone,) = found(bench, CHAT, [str(good), str(tmp_path / "gone.jsonl")])
    assert (gone.level, gone.code, "gone.jsonl" in gone.message) == ("error", "no-data", True)
    assert [f.code for f in found(bench, CHAT, "data/chat.jsonl")] == ["relative-path"]
    assert found(bench, CHAT, "HuggingFaceH4/no_robots", split="train") == []
    assert found(bench, COLUMNS, "rajpurkar/squad", **MAPPED) == []
