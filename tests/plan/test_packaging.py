"""Which files travel, and that what travels is what was planned."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.errors import ConfigError
from automodel_launch.plan import packaging
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.remote.filesystem import LOCAL
from tests.workbench import Bench, make_bench, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _collect(
    bench: Bench, *code: str, recipe: Path | None = None, parts: tuple[str, ...] = ()
) -> tuple[PlannedFile, ...]:
    recipes = bench.workspace.recipes
    return packaging.collect(recipes, recipe or recipes / "stub.py", parts, code, bench.root)


def _paths(bench: Bench, *code: str) -> list[str]:
    return [file.path for file in _collect(bench, *code)]


def test_what_a_recipe_lists_travels_with_the_agent_and_nothing_else(bench: Bench) -> None:
    names = ("lib/__init__.py", "lib/__pycache__/x.pyc", "lib/.git/config", "lib/a.pyc", "other/b.py", "data.txt")
    for name in (*names, "node_agent_lib/start.py", "contract.py", "secret_rules.py", "other.py"):
        path = bench.workspace.recipes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    agent = ["contract.py", "node_agent.py", "node_agent_lib/start.py", "secret_rules.py", "stub.py"]
    assert _paths(bench) == [f"code/recipes/{name}" for name in agent]
    listed = [file.path for file in _collect(bench, parts=("lib", "data.txt"))]
    assert listed == [f"code/recipes/{name}" for name in sorted([*agent, "data.txt", "lib/__init__.py"])]


def test_what_a_script_from_elsewhere_lists_stays_beside_it(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine" / "parts").mkdir(parents=True)
    for name in ("train.py", "parts/loss.py"):
        (tmp_path / "mine" / name).write_text("x")
    found = [file.path for file in _collect(bench, recipe=tmp_path / "mine" / "train.py", parts=("parts",))]
    assert {"code/train.py", "code/parts/loss.py"} < set(found)


def test_size_and_hash_of_each_file(bench: Bench) -> None:
    before = _collect(bench)
    stub = bench.workspace.recipes / "stub.py"
    stub.write_text(stub.read_text() + "#")
    after = _collect(bench)
    changed = [(a.path, b.bytes - a.bytes) for a, b in zip(before, after, strict=True) if a.sha256 != b.sha256]
    assert changed == [("code/recipes/stub.py", 1)]


def _copy(files: tuple[packaging.PlannedFile, ...], target: Path) -> None:
    LOCAL.put(str(target), {file.path: file.source for file in files}, {})
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


@pytest.mark.parametrize("code", [".", "../work", "recipes/.."])
def test_the_whole_checkout_is_no_code(bench: Bench, code: str) -> None:
    """Its runs and data would travel, too; the folders that may be meant are named."""
    _write(bench, "my_models/a.py", "runs/b.1/c.py")
    words = (repr(code), "is the whole of", '"my_models"; recipes/ travels anyway')
    told = refused(ConfigError, lambda: _collect(bench, code), *words)
    assert '"runs"' not in told and refused(ConfigError, lambda: _by(bench, "git", code), *words) == told


@pytest.mark.parametrize("code", ["..", "/"])
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


# packager


def _by(bench: Bench, packager: str, *code: str) -> dict[str, PlannedFile]:
    recipes = bench.workspace.recipes
    files = packaging.collect(recipes, recipes / "stub.py", (), code, bench.root, packager)
    return {file.path.removeprefix("code/"): file for file in files if not file.path.startswith("code/recipes/")}


def _write(bench: Bench, *names: str) -> None:
    for name in names:
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text(f"# {name}\n")


def test_none_takes_recipes_only(bench: Bench) -> None:
    _write(bench, "pkg/a.py")
    assert _by(bench, "none") == {}
    refused(ConfigError, lambda: _by(bench, "none", "pkg"), "code", '"none"')


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("pkg/**/*.py", ["pkg/a.py", "pkg/sub/b.py"]),
        ("pkg/*.py", ["pkg/a.py"]),
        ("pkg", ["pkg/a.py", "pkg/data.txt", "pkg/sub/b.py"]),
        ("pkg/**", ["pkg/a.py", "pkg/data.txt", "pkg/sub/b.py"]),
        ("*/sub", ["pkg/sub/b.py"]),
        ("odd [1]/x.py", ["odd [1]/x.py"]),
    ],
)
def test_patterns(bench: Bench, pattern: str, expected: list[str]) -> None:
    _write(bench, "pkg/a.py", "pkg/sub/b.py", "pkg/data.txt", "pkg/__pycache__/c.py", "pkg/.git/d.py", "odd [1]/x.py")
    assert sorted(_by(bench, "pattern", pattern)) == expected


def test_a_pattern_takes_what_git_ignores(bench: Bench) -> None:
    _write(bench, "pkg/generated.py", "pkg/a.py")
    subprocess.run(["git", "init", "-q", str(bench.root)], check=True)
    (bench.root / ".gitignore").write_text("generated.py\n")
    assert sorted(_by(bench, "pattern", "pkg/*.py")) == ["pkg/a.py", "pkg/generated.py"]


@pytest.mark.parametrize("pattern", ["pkg/*.txt", "none/**", "pkg/__pycache__/*"])
def test_a_pattern_without_a_match(bench: Bench, pattern: str) -> None:
    _write(bench, "pkg/a.py", "pkg/__pycache__/c.py")
    refused(ConfigError, lambda: _by(bench, "pattern", pattern), repr(pattern), "no file matches")


@pytest.mark.parametrize("packager", ["pattern", "git"])
@pytest.mark.parametrize("code", ["../*", "/etc/*", "pkg/../.."])
def test_no_packager_leaves_the_checkout(bench: Bench, packager: str, code: str) -> None:
    refused(ConfigError, lambda: _by(bench, packager, code), repr(code), "below")


def _commit(bench: Bench) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", str(bench.root)], check=True)
    subprocess.run([*git, "add", "-A"], cwd=bench.root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "all"], cwd=bench.root, check=True)


def test_git_takes_head_and_tells_what_stays(bench: Bench, tmp_path: Path) -> None:
    _write(bench, "my code/a.py", "my code/gone.py", "my code/run.sh")
    (bench.root / "my code" / "run.sh").chmod(0o755)
    _commit(bench)
    _write(bench, "my code/new.py")
    (bench.root / "my code" / "a.py").write_text("uncommitted")
    (bench.root / "my code" / "gone.py").unlink()
    found = _by(bench, "git", "my code")
    assert sorted(found) == ["my code/a.py", "my code/gone.py", "my code/run.sh"]
    with packaging.on_disk(found.values()) as sources:
        LOCAL.put(str(tmp_path / "job"), sources, {})
    packaging.verify(found.values())
    copied = tmp_path / "job" / "code" / "my code"
    assert (copied / "a.py").read_text() == "# my code/a.py\n"
    assert (copied / "gone.py").is_file()
    assert os.access(copied / "run.sh", os.X_OK)
    assert not os.access(copied / "a.py", os.X_OK)


def test_git_honours_the_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.root / "pkg").mkdir()
    (bench.root / "pkg" / "model.bin").write_bytes(b"x" * 20_000)
    _commit(bench)
    (bench.root / "pkg" / "model.bin").write_bytes(b"")
    monkeypatch.setattr(packaging, "LIMIT_BYTES", 10_000)
    refused(ConfigError, lambda: _by(bench, "git", "pkg"), "model.bin")


def test_git_refuses_what_it_cannot_take(bench: Bench) -> None:
    _write(bench, "pkg/a.py")
    refused(ConfigError, lambda: _by(bench, "git", "pkg"), "'pkg'", "no git repository")
    _commit(bench)
    _write(bench, "new/a.py")
    refused(ConfigError, lambda: _by(bench, "git", "new"), "'new'", "commit it first")
    refused(ConfigError, lambda: _by(bench, "git", "*"), "'*'", "commit it first")
    (bench.root / "pkg" / "link").symlink_to("a.py")
    _commit(bench)
    refused(ConfigError, lambda: _by(bench, "git", "pkg"), "pkg/link", "link")


@pytest.mark.parametrize("packager", ["git", "pattern", "none"])
def test_a_profiles_packager_is_the_plans(bench: Bench, packager: str) -> None:
    _write(bench, "pkg/a.py", "pkg/b.txt")
    _commit(bench)
    (bench.root / "pkg" / "a.py").write_text("not committed")
    code = {"git": '["pkg"]', "pattern": '["pkg/*.py"]', "none": "[]"}[packager]
    bench.env(f'packager = "{packager}"\ncode = {code}\n')
    plan = bench.plan()
    travelling = {file.path: file.bytes for file in plan.files if "pkg" in file.path}
    committed, on_disk = len("# pkg/a.py\n"), len("not committed")
    expected = {
        "git": {"code/pkg/a.py": committed, "code/pkg/b.txt": committed + 1},
        "pattern": {"code/pkg/a.py": on_disk},
        "none": {},
    }
    assert travelling == expected[packager]
    behind = [finding.message for finding in checks.run(plan) if finding.code == "left-behind"]
    assert bool(behind) == (packager == "git")
    assert all("1 changed, 0 untracked" in message for message in behind)


@pytest.mark.parametrize("own", [True, False])
def test_nothing_takes_the_place_of_the_node_agent(bench: Bench, tmp_path: Path, own: bool) -> None:
    """A folder `recipes` beside a script of one's own, or one that a profile's `code` names."""
    mine = tmp_path / "mine"
    for name in ("train.py", "recipes/node_agent.py"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("boo")
    recipes = bench.workspace.recipes

    def collect() -> object:
        if own:
            return packaging.collect(recipes, mine / "train.py", ("recipes",), (), bench.root)
        return packaging.collect(recipes, recipes / "stub.py", (), ("recipes",), mine)

    refused(ConfigError, collect, "recipes/node_agent.py", "would replace", "another name")
