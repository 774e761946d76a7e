"""What git knows of the code that travels; without git, nothing and no error."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import checks, executors
from automodel_launch.launch import submit
from automodel_launch.plan import gitstate
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A workspace whose files are committed."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    bench = make_bench(tmp_path)
    commit(bench.root)
    yield bench


def git(folder: Path, *command: str) -> str:
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")


def _change(bench: Bench) -> None:
    (bench.root / "recipes" / "stub.py").write_text("# changed\n" + (bench.root / "recipes" / "stub.py").read_text())
    (bench.root / "recipes" / "node_agent_lib").mkdir()
    (bench.root / "recipes" / "node_agent_lib" / "new.py").write_text("pass\n")
    (bench.root / "elsewhere.txt").write_text("does not travel\n")


def _notes(plan: Plan, code: str) -> list[str]:
    return [finding.message for finding in checks.run(plan) if finding.code == code]


def _record(bench: Bench) -> dict[str, str]:
    return gitstate.record(bench.root, [file.source for file in bench.plan().files])


def test_a_clean_checkout(bench: Bench) -> None:
    assert _notes(bench.plan(), "uncommitted") == []
    head = git(bench.root, "rev-parse", "HEAD")
    assert _record(bench) == {"git/commit": head, "git/diff.patch": "", "git/untracked.txt": ""}


def test_uncommitted_work_is_told_and_kept(bench: Bench) -> None:
    _change(bench)
    (note,) = _notes(bench.plan(), "uncommitted")
    assert "1 changed, 1 untracked files travel as they are on disk" in note
    found = _record(bench)
    assert "+# changed" in found["git/diff.patch"]
    assert found["git/untracked.txt"] == "elsewhere.txt\nrecipes/node_agent_lib/new.py\n"
    git(bench.root, "stash", "-q")
    (bench.root / "patch").write_text(found["git/diff.patch"])
    git(bench.root, "apply", "patch")
    assert (bench.root / "recipes" / "stub.py").read_text().startswith("# changed")


@pytest.mark.parametrize("name", ["a b", "it's", "a\nb", "é", "-x", "*", "a\tb"])
def test_odd_names_are_counted(bench: Bench, name: str) -> None:
    (bench.root / "recipes" / "node_agent_lib").mkdir()
    (bench.root / "recipes" / "node_agent_lib" / name).write_text("x")
    (note,) = _notes(bench.plan(), "uncommitted")
    assert "0 changed, 1 untracked" in note


def test_bytes_that_are_no_text(bench: Bench) -> None:
    (bench.root / "recipes" / "node_agent.py").write_bytes(b"caf\xe9\n")
    assert b"caf\xe9" in _record(bench)["git/diff.patch"].encode("utf-8", "surrogateescape")


def test_the_state_is_no_part_of_the_hash(bench: Bench) -> None:
    before = bench.plan().plan_hash
    (bench.root / "elsewhere.txt").write_text("x")
    git(bench.root, "commit", "-q", "--allow-empty", "-m", "more")
    assert bench.plan().plan_hash == before


def test_a_large_diff_is_cut_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitstate, "LIMIT_BYTES", 1000)
    (bench.root / "recipes" / "node_agent.py").write_text("x\n" * 10_000)
    diff = _record(bench)["git/diff.patch"]
    assert "cut here" in diff
    assert len(diff) < 1100


def test_code_with_a_repository_of_its_own(bench: Bench) -> None:
    mine = bench.root / "my_models"
    mine.mkdir()
    (mine / "x.py").write_text("pass")
    commit(mine)
    (mine / "x.py").write_text("changed")
    bench.env('code = ["my_models"]\n')
    plan = bench.plan()
    found = gitstate.record(bench.root, [file.source for file in plan.files])
    assert found["git/my_models/commit"] == git(mine, "rev-parse", "HEAD")
    assert "+changed" in found["git/my_models/diff.patch"]
    assert "1 changed, 0 untracked" in _notes(plan, "uncommitted")[0]


def test_no_repository(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    assert gitstate.record(bench.root, [file.source for file in bench.plan().files]) == {}
    assert _notes(bench.plan(), "uncommitted") == []


def test_no_git_installed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(bench)
    monkeypatch.setenv("PATH", str(bench.root))
    assert _record(bench) == {}
    assert gitstate.changes(bench.root) is None


def test_no_commit_yet(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    git(bench.root, "init", "-q")
    found = _record(bench)
    assert list(found) == ["git/untracked.txt"]
    assert "files travel as they are on disk" in _notes(bench.plan(), "uncommitted")[0]


def test_git_that_hangs_is_left_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    monkeypatch.setattr(gitstate, "PATIENCE_S", 0.2)
    assert gitstate.changes(bench.root) is None


def test_hooks_and_diff_programs_do_not_run(bench: Bench, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "diff.t.textconv"):
        git(bench.root, "config", key, str(trap))
    (bench.root / ".gitattributes").write_text("*.py diff=t\n")
    (tmp_path / "ran").unlink(missing_ok=True)
    _change(bench)
    _record(bench)
    checks.run(bench.plan())
    assert not (tmp_path / "ran").exists()


def test_it_lies_in_the_jobs_directory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(bench)
    plan = bench.plan()
    monkeypatch.setattr(executors.get("local"), "submit", lambda plan, workspace, environ: {})
    submit.submit(plan, bench.workspace)
    assert "+# changed" in Path(plan.job_dir, "git/diff.patch").read_text()
    assert Path(plan.job_dir, "code/recipes/node_agent_lib/new.py").is_file()
