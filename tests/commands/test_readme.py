"""What README tells a person to type is planned without an error, but for the data that the quick start makes."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from automodel_launch.commands import main
from tests.conftest import ROOT

MADE_BY_QUICKSTART = {"no-data", "no-tokenizer"}
LINES = re.findall(r"^ {4}python launch\.py (pretrain .*?)(?:  +#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_lines_are_found() -> None:
    assert any("--run dgx" in line for line in LINES)
    assert len(LINES) >= 5


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_a_line_of_the_readme(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCH_ENV", raising=False)
    words = [word for word in shlex.split(line) if word != "--dry-run"]
    code = main.main([*words, "--dry-run", "--offline", "--json"])
    document = json.loads(capsys.readouterr().out)
    errors = {finding["code"] for finding in document["findings"] if finding["level"] == "error"}
    assert errors <= MADE_BY_QUICKSTART, document["findings"]
    assert code == (3 if errors else 0)
