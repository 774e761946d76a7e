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
    (CHAT, '{"messages": [{"role": "asistant", "content": "a"}]}', {}, ["a turn of 'asistant'", "role: assistant"]),
    (CHAT, '{"conversations": [{"from": "tool", "value": "a"}]}', {}, ["line 1 has a turn of 'tool'"]),
    (CHAT, '{"messages": [{"role": "assistant", "text": "a"}]}', {}, ["turns without 'content'", "role, text"]),
    (CHAT, f"{SHARED}\n", {}, ["none of its first 1 rows has an answer"]),
    (CHAT, '{"messages": [{"role": "assistant", "tool_calls": []}]}', {}, []),
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


@pytest.mark.parametrize(("target", "text", "more", "words"), [
    (CHAT, f"[{GOOD}, {SHARED}]", {}, []),
    (CHAT, GOOD, {}, []),
    (CHAT, f"{GOOD}\n{GOOD}\n", {}, ["one JSON document", ".jsonl"]),
    (CHAT, f'[{GOOD}, {{"text": "a"}}]', {}, ["row 2 has no list `messages`"]),
    (CHAT, "[]", {}, ["no rows"]),
    (COLUMNS, '{"q": "a", "a": "b"}\n{"q": "a", "a": "b"}\n', MAPPED, []),
    (COLUMNS, '[{"q": "a", "answer": "b"}]', MAPPED, ["row 1 has no field 'a'"]),
])  # fmt: skip
def test_one_document(
    bench: Bench, tmp_path: Path, target: str, text: str, more: dict[str, object], words: list[str]
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    findings = found(bench, target, str(path), **more)
    assert [f.code for f in findings] == (["bad-conversations"] if words else [])
    assert all(word in f"{findings[0].message} {findings[0].fix}" for word in words)


def test_a_directory(bench: Bench, tmp_path: Path) -> None:
    """What ChatDataset makes of one: parquet files are loaded, else it is opened as a file."""
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").write_text(GOOD)
    for target in (CHAT, COLUMNS):
        (one,) = found(bench, target, str(folder), **MAPPED)
        assert (one.code, "is a directory" in one.message, "a.jsonl" in (one.fix or "")) == (
            "bad-conversations",
            True,
            True,
        )
    (folder / "a.parquet").touch()
    assert found(bench, CHAT, str(folder)) == []
    assert [f.code for f in found(bench, CHAT, [str(folder)])] == ["bad-conversations"]


def test_they_are_part_of_the_runs_identity(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def name(text: str) -> str:
        path.write_text(text)
        section = {"_target_": CHAT, "path_or_dataset_id": str(path), "seq_length": 32}
        plan = bench.planned(f"dataset: {json.dumps(section)}")
        assert plan.data["digest"]
        return plan.run_name

    assert name(f"{GOOD}\n") == name(f"{GOOD}\n")
    assert name(f"{GOOD}\n") != name(f"{GOOD}\n{GOOD}\n")


def test_a_missing_file_and_a_relative_one_are_found_and_a_hub_id_is_no_path(bench: Bench, tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text(GOOD)
    (gone,) = found(bench, CHAT, [str(good), str(tmp_path / "gone.jsonl")])
    assert (gone.level, gone.code, "gone.jsonl" in gone.message) == ("error", "no-data", True)
    assert [f.code for f in found(bench, CHAT, "data/chat.jsonl")] == ["relative-path"]
    assert found(bench, CHAT, "HuggingFaceH4/no_robots", split="train") == []
    assert found(bench, COLUMNS, "rajpurkar/squad", **MAPPED) == []


@pytest.mark.parametrize(("held_out", "rows", "pipeline", "message"), [
    ("validation_dataset", 1, False, "1 row is less than 2 data-parallel ranks"),
    ("validation_dataset_code", 1, False, "1 row is less than 2 data-parallel ranks"),
    ("validation_dataset", 2, False, None),
    ("validation_dataset", 3, True, "3 rows are less than step_scheduler.local_batch_size = 2"),
    ("validation_dataset", 4, True, None),
])  # fmt: skip
def test_held_out_rows_of_less_than_a_batch(
    bench: Bench, tmp_path: Path, held_out: str, rows: int, pipeline: bool, message: str | None
) -> None:
    """Each rank gets as many rows, and AutoModel drops the rest; a stage of a pipeline takes whole local batches."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n\n" * rows)
    section = json.dumps({"_target_": CHAT, "path_or_dataset_id": str(path), "seq_length": 32})
    lines = [f"{held_out}: {section}", "step_scheduler: {global_batch_size: 8, local_batch_size: 2, max_steps: 5}"]
    lines += ["distributed: {pp_size: 2, pipeline: {pp_schedule: 1f1b}}"] if pipeline else []
    ranks = f"run.env.nproc_per_node={4 if pipeline else 2}"
    told = [f for f in checks.run(bench.planned("\n".join(lines), ranks)) if f.code == "no-validation-batch"]
    assert [(f.level, message is not None and message in f.message) for f in told] == [("warning", True)] * bool(
        message
    )


def test_fewer_rows_than_ranks_give_no_batch(bench: Bench, tmp_path: Path) -> None:
    def told(rows: int, target: str = CHAT) -> list[str]:
        path = tmp_path / "rows.jsonl"
        path.write_text(f"{GOOD}\n" * rows)
        section = {"_target_": target, "path_or_dataset_id": str(path)}
        plan = bench.planned(f"dataset: {json.dumps(section)}")  # 2 processes
        return [finding.message for finding in checks.run(plan) if finding.code == "no-batch"]

    (message,) = told(1)
    assert "rows: 1, and 2 data-parallel ranks" in message
    assert told(2) == []
    assert told(1, COLUMNS.replace("_dataset.", "_iterable_dataset.").replace("Dataset", "IterableDataset")) == []


@pytest.mark.parametrize(("described", "more", "words"), [
    ({}, {}, "no chat_template"),
    ({}, {"chat_template": "{{ messages }}"}, ""),
    ({"chat_template": "{{ messages }}"}, {}, ""),
    ({"chat_template": "{% for m in messages %}{{ m.content }"}, {}, "tokenizer_config.json: Jinja does not read"),
    ({"chat_template": "{% if x %}\n{% endfor %}"}, {}, "line 2"),
    ({"chat_template": "{{ messages"}, {"chat_template": "{{ messages }}"}, ""),
    ({}, {"chat_template": "{{ messages | }}"}, "dataset.chat_template ("),
    ({"chat_template": "{% for m in messages %}{%- generation -%}{% break %}{% endgeneration %}{% endfor %}"}, {}, ""),
])  # fmt: skip
def test_a_tokenizer_without_a_template_that_jinja_reads(
    bench: Bench, tmp_path: Path, described: dict[str, str], more: dict[str, str], words: str
) -> None:
    folder, path = tmp_path / "tokenizer", tmp_path / "rows.jsonl"
    folder.mkdir()
    path.write_text(f"{GOOD}\n" * 2)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    tokenizer = {"_target_": "nemo_automodel.NeMoAutoTokenizer.from_pretrained"}
    tokenizer["pretrained_model_name_or_path"] = str(folder)
    findings = found(bench, CHAT, str(path), tokenizer=tokenizer, **more)
    assert [one.code for one in findings] == (["bad-conversations"] if words else [])
    assert all(words in one.message for one in findings)
