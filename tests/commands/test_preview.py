"""The preview: everything of the plan, and the script as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.commands import preview
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _shown(bench: Bench, capsys: pytest.CaptureFixture[str], *texts: str, findings: list[Finding] | None = None) -> str:
    preview.show(bench.plan(*texts), findings or [])
    return capsys.readouterr().out


def test_all_parts_are_there(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    plan = bench.plan("value=a b")
    out = _shown(bench, capsys, "value=a b", findings=[Finding("error", "bad", "it is bad", "mend it")])
    for part in (plan.job_id, plan.job_dir, plan.run_dir, plan.plan_hash, plan.script, "code/recipes/stub.py"):
        assert part in out
    for part in ("override value=a b", "stub/default.yaml:1", "env.toml [local]", "LAUNCH_JOB_ID", "bad", "mend it"):
        assert part in out
    assert "1 x 2 = 2 processes" in out


def test_the_script_is_not_wrapped(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    root = "/a" * 200
    out = _shown(bench, capsys, f"run.env.remote_job_dir={root}")
    assert bench.plan(f"run.env.remote_job_dir={root}").script in out


def test_no_colour_when_piped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in _shown(bench, capsys)


@pytest.mark.parametrize("value", ["[bold]x[/bold]", "[red", ":smile:", "a\\nb", "ünï 🎉", "'"])
def test_values_are_shown_as_they_are(bench: Bench, capsys: pytest.CaptureFixture[str], value: str) -> None:
    bench.config(f"value: {json.dumps(value, ensure_ascii=False)}\n")
    preview.show(bench.plan(config="t"), [])
    assert json.dumps(value, ensure_ascii=False) in capsys.readouterr().out


def test_a_value_of_a_secret_is_never_shown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.env('secrets = ["TOKEN"]\n')
    bench.environ = {"TOKEN": "hush-hush"}
    out = _shown(bench, capsys, "value=${oc.env:TOKEN}")
    assert "hush-hush" not in out
    assert "TOKEN" in out


def test_the_document_is_the_plans_with_findings(bench: Bench) -> None:
    plan = bench.planned("tokenizer: /no/such/directory\n")
    document = preview.document(plan, checks.run(plan))
    assert document["plan_hash"] == plan.plan_hash
    assert document["script"] == plan.script
    assert {"level", "code", "message", "fix"} == set(document["findings"][0])
    assert json.loads(json.dumps(document, allow_nan=False))["config"] == plan.config


def test_findings_as_text() -> None:
    text = preview.findings_text([Finding("error", "a", "one", "mend"), Finding("note", "b", "two")])
    assert text.splitlines() == ["error: [a] one", "  fix: mend", "note: [b] two"]
    assert preview.findings_text([]) == ""
