"""What must not travel does not, or is told; what should and cannot is told, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.errors import ConfigError
from automodel_launch.plan import gitstate
from automodel_launch.plan.finding import Finding
from tests.plan.test_gitstate import commit, git
from tests.workbench import Bench, make_bench, refused

TOKEN = "acme-0123456789-token"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("ACME_TOKEN", TOKEN)
    return make_bench(tmp_path)


def _write(bench: Bench, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = bench.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _found(bench: Bench, code: str) -> list[Finding]:
    return [finding for finding in checks.run(bench.plan()) if finding.code == code]


def _travels(bench: Bench) -> list[str]:
    return [file.path for file in bench.plan().files if not file.path.startswith("code/recipes/")]


# --- secrets


def test_a_secrets_value_in_a_file_is_an_error_that_names_both_and_shows_neither(bench: Bench) -> None:
    _write(bench, {"pkg/a.py": f'KEY = "{TOKEN}"\n', "pkg/b.py": "x\n"})
    bench.env('code = ["pkg"]\n')
    (finding,) = _found(bench, "secret-travels")
    assert finding.level == "error"
    assert "ACME_TOKEN" in finding.message and "pkg/a.py" in finding.message and "b.py" not in finding.message
    assert TOKEN not in f"{finding.message} {finding.fix}"


def test_a_secret_in_a_config_and_in_what_was_changed(bench: Bench) -> None:
    commit(bench.root)
    bench.config(f"steps: 2\npause: 0.0\nfail_rank: -1\ncode: 0\nvalue: {TOKEN}\n", "default")
    (finding,) = _found(bench, "secret-travels")
    assert "config.yaml" in finding.message
    assert "git/diff.patch (configs/stub/default.yaml)" in finding.message


def test_words_that_stand_in_files_by_chance_are_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "postgres")
    monkeypatch.setenv("OTHER_TOKEN", "import")
    _write(bench, {"pkg/a.py": "import postgres\n"})
    bench.env('code = ["pkg"]\n')
    assert _found(bench, "secret-travels") == []


def test_the_diff_leaves_out_env_toml_and_credentials(bench: Bench) -> None:
    private = ("env.toml", "sub/env.toml", ".env", "deep/.env.local", "key.pem", "id_rsa", "own file.toml")
    names = [*private, "a.py", "secrets.py"]
    _write(bench, dict.fromkeys(names, "old\n"))
    commit(bench.root)
    _write(bench, dict.fromkeys(names, "hush\n"))
    diff = gitstate.record(bench.root, [], bench.root / "own file.toml")["git/diff.patch"]
    assert {line.split()[-1] for line in diff.splitlines() if line.startswith("+++")} == {"b/a.py", "b/secrets.py"}
    assert diff.count("hush") == 2


def test_what_a_submission_writes_of_git_holds_nothing_of_env_toml(bench: Bench) -> None:
    bench.env("")
    commit(bench.root)
    bench.env('env_vars = {HOST_OF_MINE = "private-host"}\n')
    files = [file.source for file in bench.plan().files]
    assert "private-host" not in json.dumps(gitstate.record(bench.root, files, bench.workspace.env_file))


# --- what git ignores


def test_a_repository_that_git_refuses_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ignore lists are not known, and .env would travel."""
    commit(bench.root)
    _write(bench, {"pkg/a.py": "x", "pkg/.env": TOKEN, ".gitignore": ".env\n"})
    bench.env('code = ["pkg"]\n')
    assert _travels(bench) == ["code/pkg/a.py"]
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # what git's own tests set
    assert TOKEN not in refused(ConfigError, bench.plan, "dubious ownership", f"safe.directory {bench.root}")


def test_a_shared_checkout_of_somebody_else_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(bench.root)
    _write(bench, {"recipes/node_agent_lib/.env": TOKEN, "recipes/node_agent_lib/x.py": "x"})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    travels = [file.path for file in bench.plan().files if "node_agent_lib" in file.path]
    assert travels == ["code/recipes/node_agent_lib/x.py"]
    (note,) = _found(bench, "git-refuses")
    assert note.level == "note" and str(bench.root) in note.message


def test_without_git_nothing_is_taken_for_granted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(bench.root)
    _write(bench, {"pkg/a.py": "x"})
    bench.env('code = ["pkg"]\n')
    monkeypatch.setenv("PATH", "/nowhere")
    refused(ConfigError, bench.plan, "git cannot be started", "pattern")


@pytest.mark.parametrize("kind", ["repository", "submodule"])
def test_a_nested_repositorys_own_ignore_list_is_asked(bench: Bench, tmp_path: Path, kind: str) -> None:
    _write(bench, {"pkg/a.py": "x"})
    commit(bench.root)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "b.py").write_text("x")
    (inner / ".gitignore").write_text(".env\nlocal/\n")
    commit(inner)
    if kind == "submodule":
        git(bench.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "pkg/inner")
    else:
        inner.rename(bench.root / "pkg" / "inner")
    _write(bench, {"pkg/inner/.env": TOKEN, "pkg/inner/local/c.py": "x"})
    bench.env('code = ["pkg"]\n')
    assert _travels(bench) == ["code/pkg/a.py", "code/pkg/inner/.gitignore", "code/pkg/inner/b.py"]
    assert _found(bench, "secret-travels") == []


# --- what is not there


def _with_submodule(bench: Bench, tmp_path: Path) -> None:
    """A checkout whose submodule is not initialised."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "b.py").write_text("x")
    commit(inner)
    _write(bench, {"pkg/a.py": "x"})
    commit(bench.root)
    git(bench.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "pkg/inner")
    git(bench.root, "commit", "-q", "-m", "submodule")
    git(bench.root, "submodule", "deinit", "-q", "-f", "pkg/inner")


@pytest.mark.parametrize("packager", ["", 'packager = "git"\n'])
def test_an_empty_submodule_is_told_or_refused(bench: Bench, tmp_path: Path, packager: str) -> None:
    _with_submodule(bench, tmp_path)
    bench.env(f'code = ["pkg"]\n{packager}')
    (finding,) = _found(bench, "empty-submodule")
    assert finding.level == "warning" and "pkg/inner" in finding.message
    bench.env(f'code = ["pkg/inner"]\n{packager}')
    refused(ConfigError, bench.plan, "'pkg/inner'", "nothing of it would travel", "submodule update --init")


def test_a_submodule_that_is_there_is_no_finding(bench: Bench, tmp_path: Path) -> None:
    _with_submodule(bench, tmp_path)
    git(bench.root, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    bench.env('code = ["pkg"]\n')
    assert _found(bench, "empty-submodule") == []
    bench.env('code = ["pkg/inner"]\npackager = "git"\n')
    assert _travels(bench) == ["code/pkg/inner/b.py"]


def test_a_folder_of_which_nothing_travels_is_refused(bench: Bench) -> None:
    (bench.root / "empty").mkdir()
    bench.env('code = ["empty"]\n')
    refused(ConfigError, bench.plan, "'empty'", "nothing of it would travel")


def test_a_pointer_of_git_lfs_is_told(bench: Bench) -> None:
    _write(bench, {"pkg/weights.bin": POINTER, "pkg/about.md": "see version https://git-lfs.github.com/spec/v1\n"})
    bench.env('code = ["pkg"]\n')
    (finding,) = _found(bench, "lfs-pointer")
    assert (finding.level, finding.fix) == ("warning", "git lfs pull")
    assert "pkg/weights.bin" in finding.message and "about.md" not in finding.message
