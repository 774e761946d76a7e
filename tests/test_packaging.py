"""Which files travel, and that what travels is what was planned."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from automodel_launch import packaging
from automodel_launch.errors import ConfigError
from automodel_launch.packaging import PlannedFile
from automodel_launch.places import HERE
from tests.workbench import Bench, make_bench, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _collect(bench: Bench, *code: str, recipe: Path | None = None) -> tuple[PlannedFile, ...]:
    recipes = bench.workspace.recipes
    return packaging.collect(recipes, recipe or recipes / "stub.py", code, bench.root)


def _paths(bench: Bench, *code: str) -> list[str]:
    return [file.path for file in _collect(bench, *code)]


def test_recipes_travel_without_caches(bench: Bench) -> None:
    for name in ("lib/__init__.py", "lib/__pycache__/x.pyc", ".git/config", "lib/a.pyc", "data.txt"):
        path = bench.workspace.recipes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    expected = ["data.txt", "lib/__init__.py", "node_agent.py", "stub.py"]
    assert _paths(bench) == [f"code/recipes/{name}" for name in expected]


def test_size_and_hash_of_each_file(bench: Bench) -> None:
    before = _collect(bench)
    stub = bench.workspace.recipes / "stub.py"
    stub.write_text(stub.read_text() + "#")
    after = _collect(bench)
    changed = [(a.path, b.bytes - a.bytes) for a, b in zip(before, after, strict=True) if a.sha256 != b.sha256]
    assert changed == [("code/recipes/stub.py", 1)]


def _copy(files: tuple[packaging.PlannedFile, ...], target: Path) -> None:
    HERE.put(str(target), {file.path: file.source for file in files}, {})
    packaging.verify(files)


@pytest.mark.parametrize("name", ["my code", "it's", "a$b", "naïve", "a\nb"])
def test_odd_names_travel(bench: Bench, tmp_path: Path, name: str) -> None:
    (bench.root / name).mkdir()
    (bench.root / name / f"{name}.py").write_text("pass")
    files = _collect(bench, name)
    assert f"code/{name}/{name}.py" in [file.path for file in files]
    _copy(files, tmp_path / "job")
    assert (tmp_path / "job" / "code" / name / f"{name}.py").read_text() == "pass"


def test_a_single_file_of_the_users(bench: Bench) -> None:
    (bench.root / "loss.py").write_text("pass")
    assert "code/loss.py" in _paths(bench, "loss.py")


def test_a_recipe_from_elsewhere_travels_too(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("pass")
    assert "code/mine.py" in [file.path for file in _collect(bench, recipe=script)]


@pytest.mark.parametrize("code", ["nope", "nope/x.py"])
def test_code_that_is_not_there(bench: Bench, code: str) -> None:
    refused(ConfigError, lambda: _collect(bench, code), repr(code), "no such")


@pytest.mark.parametrize("code", ["..", ".", "../work", "/", "recipes/.."])
def test_code_from_outside_of_the_checkout(bench: Bench, code: str) -> None:
    refused(ConfigError, lambda: _collect(bench, code), repr(code), "below")


def test_what_git_ignores_stays(bench: Bench) -> None:
    subprocess.run(["git", "init", "-q", str(bench.root)], check=True)
    (bench.root / ".gitignore").write_text("*.bin\nwork/\n")
    for name in ("pkg/a.py", "pkg/b.bin", "pkg/work/c.py", "pkg/not committed.py"):
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text("x")
    assert [path for path in _paths(bench, "pkg") if "pkg" in path] == ["code/pkg/a.py", "code/pkg/not committed.py"]


def test_a_folder_behind_a_link_is_not_lost_in_silence(bench: Bench) -> None:
    (bench.root / "shared").mkdir()
    (bench.root / "shared" / "a.py").write_text("x")
    (bench.root / "pkg").mkdir()
    (bench.root / "pkg" / "link").symlink_to(bench.root / "shared")
    try:
        assert "code/pkg/link/a.py" in _paths(bench, "pkg")
    except ConfigError as error:
        assert "link" in error.message


def test_too_much_is_refused_with_the_largest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "LIMIT_BYTES", 10_000)
    (bench.root / "pkg").mkdir()
    (bench.root / "pkg" / "model.bin").write_bytes(b"x" * 20_000)
    refused(ConfigError, lambda: _collect(bench, "pkg"), "code", "model.bin", ".gitignore")


def test_the_copy_is_frozen_and_checked(bench: Bench, tmp_path: Path) -> None:
    files = _collect(bench)
    _copy(files, tmp_path / "one")
    stub = bench.workspace.recipes / "stub.py"
    stub.write_text("changed")
    assert (tmp_path / "one" / "code/recipes/stub.py").read_text() != "changed"
    refused(ConfigError, lambda: packaging.verify(files), str(stub), "changed")


def test_the_order_does_not_depend_on_the_file_system(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.py", "a.py", "lib/z.py"):
        (bench.workspace.recipes / name).parent.mkdir(exist_ok=True)
        (bench.workspace.recipes / name).write_text("x")
    expected = _collect(bench)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: ((f, d, n[::-1]) for f, d, n in walk(top)))
    assert _collect(bench) == expected
