"""The documents keep up with the code: keys, finding codes, commands, links."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from automodel_launch.commands import command, registry
from automodel_launch.commands import scripts as recipe_scripts
from automodel_launch.profile import schema
from automodel_launch.profile.keys import SYNONYMS
from scripts import make_tiny_corpus
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
LEVELS = {"error", "warning", "note"}


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [*schema.KEYS, *SYNONYMS])
def test_every_key_of_a_profile_is_described(key: str) -> None:
    assert f"`{key}`" in _text("docs/env-toml.md")


@pytest.mark.parametrize("section", list(schema.SECTIONS))
def test_every_section_and_its_keys_are_described(section: str) -> None:
    text = _text("docs/env-toml.md")
    assert f"`[{section}]`" in text
    for key in schema.SECTIONS[section].model_fields:
        assert f"`{key}`" in text


def _findings() -> dict[str, set[str] | None]:
    """Code -> levels, of every `Finding(level, code, ...)` in the source; None where a level is not written there."""
    found: dict[str, set[str] | None] = {}
    for path in (ROOT / "automodel_launch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                level, code = node.args[:2]
                assert isinstance(code, ast.Constant), f"{path}:{node.lineno}: a code is written where it is found"
                texts = {str(part.value) for part in ast.walk(level) if isinstance(part, ast.Constant)} & LEVELS
                known = found.setdefault(str(code.value), set())
                found[str(code.value)] = known | texts if known is not None and texts else None
    return found


def _listed() -> dict[str, set[str]]:
    """Code -> levels, of the tables in docs/checks.md."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", _text("docs/checks.md"), re.MULTILINE)
    assert len(rows) == len({code for code, _ in rows})
    return {code: set(levels.split(", ")) for code, levels in rows}


def test_every_finding_is_listed_and_no_other() -> None:
    assert sorted(_findings()) == sorted(_listed())


def test_the_levels_of_findings_are_those_of_the_source() -> None:
    listed = _listed()
    assert all(levels <= LEVELS for levels in listed.values())
    written = {code: levels for code, levels in _findings().items() if levels}
    assert {code: listed[code] for code in written} == written


def test_every_command_is_documented() -> None:
    listed = _text("docs/cli.md")
    assert [name for name in registry.COMMANDS if not re.search(rf"\b{name}\b", listed)] == []


def _examples() -> list[str]:
    """What a person may copy from documents and the comments of configs; with [ ], | or ... it is only a form."""
    paths = [*DOCUMENTS, *sorted((ROOT / "configs").rglob("*.yaml"))]
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    found = (re.fullmatch(r"(?:    |#\s+)\s*python ((?:launch\.py|scripts/)[^\[|…]*?)\s*", line) for line in lines)
    return sorted({match[1] for match in found if match and "..." not in match[1]})


def test_the_commands_that_the_documents_show_are_understood() -> None:
    examples = _examples()
    assert len(examples) > 60
    for example in examples:
        program, *words = shlex.split(example, comments=True)
        if program == "scripts/make_tiny_corpus.py":
            make_tiny_corpus.parser().parse_args(words)
        elif words[0] in registry.COMMANDS:
            command.get(words[0]).parse(words[1:])
        elif words != ["--help"] and not recipe_scripts.has(words[0], "".join(words[1:2]), also=()):
            command.get("launch").parse(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link, section in _LINK.findall(path.read_text(encoding="utf-8")):
        target = path.parent / link if link else path
        if not target.exists() or (section and section not in _sections(target)):
            broken.append(f"{link}#{section}")
    assert broken == []


def _sections(path: Path) -> set[str]:
    """The names by which GitHub links to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_page_leads_to_every_other() -> None:
    text = _text("README.md")
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"](docs/{path.name})" not in text] == []


def test_every_file_of_the_launcher_is_on_the_map() -> None:
    text = _text("docs/architecture.md")
    rows = dict(re.findall(r"^\| `?(\w+)/?`? \|[^|]*\| (.*) \|$", text.partition("## The wings")[2], re.MULTILINE))
    missing = []
    for path in (ROOT / "automodel_launch").rglob("*.py"):
        inside = path.relative_to(ROOT / "automodel_launch").with_suffix("").parts
        wing = inside[0] if len(inside) > 1 else "ground"
        if (
            path.name != "__init__.py"
            and inside not in (("api",), ("api_sets",))
            and f"`{inside[-1]}`" not in rows[wing]
        ):
            missing.append("/".join(inside))
    assert missing == []
    gone = []
    for wing, row in rows.items():
        root = ROOT / "automodel_launch" / wing
        there = {path.stem for path in root.rglob("*")} | {"attach", "env_vars"}  # a command, a key
        gone += [f"{wing}/{name}" for name in re.findall(r"`([a-z_]+)/?`", row) if root.is_dir() and name not in there]
    assert gone == []


@pytest.mark.parametrize("folder", sorted((ROOT / "recipes").glob("*_lib")), ids=lambda path: path.name)
def test_every_module_of_a_recipe_is_on_its_folders_map(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    names = [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert [name for name in names if not re.search(rf"(?<!\w){name}(?!\w)", text)] == []


def test_the_benchmarks_are_listed() -> None:
    text = _text("benchmarks/README.md")
    assert [path.name for path in (ROOT / "benchmarks").glob("*.py") if f"`{path.name}`" not in text] == []
