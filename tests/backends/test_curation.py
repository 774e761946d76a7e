"""What is found in a curation's config before it is submitted, and what a pipeline may refer to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import backends
from automodel_launch.launch.quiet import Quiet
from tests.conftest import Checkout

pytest.importorskip("datatrove", reason="setup.sh --dev installs it")

CONFIG = """
output_dir: {root}/out
run: {{env: {{code: [mine.py]}}}}
stages:
  - name: filter
    tasks: 2
    pipeline:
      - {{_target_: datatrove.pipeline.readers.JsonlReader, data_folder: {root}/corpus}}
      - {{_target_: "mine.py:Step"}}
      - {{_target_: datatrove.pipeline.writers.JsonlWriter, output_folder: "${{output_dir}}/text"}}
"""
STEP = "from datatrove.pipeline.filters.base_filter import BaseFilter\nclass Step(BaseFilter): pass\n"
PREPARED = """
steps:
  curate: {recipe: curate, config: ./curate.yaml}
  data:
    recipe: data-prep
    config: ./data.yaml
    overrides: {datasets.0.path: "${steps.curate.path}/text"}
"""


def found(checkout: Checkout, *words: str) -> list[tuple[str, str]]:
    document = checkout.json("curate", "-c", str(checkout.root / "curate.yaml"), "--dry-run", *words)
    codes = ("curate-", "unknown-target", "stays-here", "missing-package", "relative-path")
    return [(one["level"], one["message"]) for one in document["findings"] if one["code"].startswith(codes)]


def test_what_is_found_before_the_job(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (checkout.root / "curate.yaml").write_text(CONFIG.format(root=tmp_path))
    (checkout.root / "mine.py").write_text(STEP)
    where = "stages.0.pipeline.1._target_"
    empty = f"stages[0].pipeline[0].data_folder: {tmp_path}/corpus is empty."
    assert found(checkout) == [("error", empty)]
    (tmp_path / "corpus" / "a.jsonl").write_text('{"text": "a"}\n')
    assert found(checkout) == []
    (level, message), *others = found(checkout, f"{where}=mine.py:Stop", "+stages.0.taks=3")
    assert level == "error"
    assert "stages[0].taks: unknown key; did you mean 'tasks'?" in message
    assert [one for one in others if "mine.py has no 'Stop'" in one[1]]
    (level, message), *_ = found(checkout, "stages=null")
    assert (level, message.partition(";")[0]) == ("error", "stages: missing")
    relative = found(checkout, "stages.0.pipeline.0.data_folder=corpus", "output_dir=out")
    told = [message.partition(" (")[0] for level, message in relative if "is relative" in message]
    paths = ("output_dir = 'out'", "stages.0.pipeline.0.data_folder = 'corpus'", "stages.0.pipeline.2.output_folder")
    assert len(told) == 3 and all(any(path in one for one in told) for path in paths), told
    writer = "{_target_: datatrove.pipeline.writers.JsonlWriter, output_folder: gone}"
    step = f"{{_target_: datatrove.pipeline.filters.RegexFilter, regex_exp: x, exclusion_writer: {writer}}}"
    ((_, message),) = found(checkout, f"stages.0.pipeline.1={step}")
    assert message.startswith("stages.0.pipeline.1.exclusion_writer.output_folder = 'gone'"), message
    assert "gone is relative" in message


def test_what_its_steps_make_is_another_steps_input(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text('{"text": "a"}\n')
    (checkout.root / "mine.py").write_text(STEP)
    (checkout.root / "curate.yaml").write_text(CONFIG.format(root=tmp_path))
    prepared = {"datasets": [{"name": "a", "path": "x"}], "tokenizer": str(tmp_path), "output_dir": str(tmp_path / "b")}
    (checkout.root / "data.yaml").write_text(json.dumps(prepared))
    (checkout.root / "both.yaml").write_text(PREPARED)
    document = checkout.json("pipeline", str(checkout.root / "both.yaml"), "--dry-run")
    text = json.dumps(document)
    assert f"{tmp_path}/out/text" in text
    assert "no file matches" not in text


def test_an_attached_run_shows_what_the_recipe_says() -> None:
    quiet = Quiet(backends.get("curation").noise())
    said = [
        "stage filter: tasks 0 to 1 of 2",
        "2026-11-27 13:56:43.178 | INFO     | datatrove.utils.logging:add_task_logger:76 - Launching for rank=1",
        "2026-11-27 13:56:46.858 | INFO     | datatrove.executor.base:_run_for_rank:147 - ",
        "",
        "Total Runtime: 3.59 seconds",
        "    Stats: {total: 731, forwarded: 731}",
        "2026-11-27 13:56:47.000 | ERROR    | datatrove.executor.base:_run_for_rank:150 - no good",
        "Traceback (most recent call last):",
        "stage filter:",
        "  FILTER: Regex: 12 in, 8 kept, 4 dropped",
    ]
    assert [line for line in said if quiet.line(line) is not None] == [said[0], *said[6:]]
