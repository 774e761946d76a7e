"""The documents keep up with the code: keys, finding codes, commands, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from automodel_launch import cli, profile_schema
from automodel_launch.profiles import SYNONYMS
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_CODE = re.compile(r'Finding\(\s*"(?:error|warning|note)",\s*"([a-z-]+)"')


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [*profile_schema.KEYS, *SYNONYMS])
def test_every_key_of_a_profile_is_described(key: str) -> None:
    assert f"`{key}`" in _text("docs/env-toml.md")


@pytest.mark.parametrize("section", list(profile_schema.SECTIONS))
def test_every_section_and_its_keys_are_described(section: str) -> None:
    text = _text("docs/env-toml.md")
    assert f"`[{section}]`" in text
    for key in profile_schema.SECTIONS[section].model_fields:
        assert f"`{key}`" in text


def test_every_finding_code_is_listed() -> None:
    sources = [path.read_text() for path in (ROOT / "automodel_launch").rglob("*.py")]
    codes = {code for source in sources for code in _CODE.findall(source)}
    assert len(codes) > 10
    listed = _text("docs/cli.md")
    assert [code for code in sorted(codes) if f"`{code}`" not in listed] == []


def test_every_command_is_documented() -> None:
    listed = _text("docs/cli.md")
    assert [name for name in cli.COMMANDS if not re.search(rf"\b{name}\b", listed)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()]
    assert broken == []


def test_every_file_of_the_launcher_is_on_the_map() -> None:
    text = _text("docs/architecture.md")
    files = [path.name for path in (ROOT / "automodel_launch").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in files if f"`{name}`" not in text] == []


def test_the_benchmarks_are_listed() -> None:
    text = _text("benchmarks/README.md")
    assert [path.name for path in (ROOT / "benchmarks").glob("*.py") if f"`{path.name}`" not in text] == []
