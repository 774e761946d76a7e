"""Ratchets: two worlds that do not import each other, imports that run downwards, a quick start, a known surface."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch.commands import main, registry
from tests.conftest import ROOT, clean_environ, make_checkout

PACKAGE = "automodel_launch"
LAUNCHER = sorted([*(ROOT / PACKAGE).rglob("*.py"), ROOT / "launch.py"])
RECIPES = sorted((ROOT / "recipes").rglob("*.py"))
TRAINING = {"torch", "nemo_automodel", "transformers"}


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that the nodes below `tree` import, also late ones and import_module("...")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: -node.level + 1 or None] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__"):
                yield str(node.args[0].value)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _package(path: Path) -> str:
    return _module(path) if path.name == "__init__.py" else _module(path).rpartition(".")[0]


MODULES = {_module(path): path for path in LAUNCHER}


def _edges(late: bool) -> dict[str, set[str]]:
    """Which modules of the launcher import which; without `late`, only what a module needs to be imported itself."""
    edges = {}
    for module, path in MODULES.items():
        trees: list[ast.AST] = (
            [_tree(path)] if late else [node for node in _tree(path).body if not isinstance(node, _DEFERRED)]
        )
        names = {name for tree in trees for name in _imported(tree, _package(path))}
        edges[module] = (names & set(MODULES)) - {module, PACKAGE}
    return edges


_DEFERRED = (ast.FunctionDef, ast.ClassDef, ast.If)  # `if TYPE_CHECKING:` is for mypy alone


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_launcher_never_imports_training(path: Path) -> None:
    assert {name.partition(".")[0] for name in _imported(_tree(path), _package(path))} & TRAINING == set()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_never_imports_the_launcher(path: Path) -> None:
    tops = {name.partition(".")[0] for name in _imported(_tree(path), _package(path))}
    assert tops & {PACKAGE, "nemo_run", "launch"} == set()


def test_the_search_finds_every_form_of_import() -> None:
    source = "import torch.nn as t\ndef f():\n from transformers import x\n importlib.import_module('nemo_run')\n"
    names = {name.partition(".")[0] for name in _imported(ast.parse(source), "p")}
    assert {"torch", "transformers", "nemo_run"} <= names
    assert "a.b.c" in set(_imported(ast.parse("from .b import c"), "a"))
    assert "a.c" in set(_imported(ast.parse("from ..c import d"), "a.b"))


def test_no_circle_of_imports() -> None:
    edges = _edges(late=False)

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        for other in sorted(edges[module]):
            visit(other, (*above, module))

    for module in edges:
        visit(module, ())


def test_only_executors_open_the_door_to_nemo_run() -> None:
    door = f"{PACKAGE}.executors.nemo"
    edges = _edges(late=True)
    assert all(module.startswith(f"{PACKAGE}.executors") for module, imported in edges.items() if door in imported)
    named = {
        m for m, path in MODULES.items() if "nemo_run" in {n.partition(".")[0] for n in _imported(_tree(path), "")}
    }
    behind = (f"{door}_once", f"{door}_tunnel", f"{PACKAGE}.executors.slurm.script")
    assert named <= {door, *behind}


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_commands_print(path: Path) -> None:
    calls = {ast.unparse(node.func) for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)}
    if path.parent.name != "commands" and path.name not in ("launch.py", "follow.py", "__main__.py"):
        assert not calls & {"print", "sys.stdout.write", "sys.stderr.write", "sys.exit"}


@pytest.mark.parametrize("path", [p for p in LAUNCHER if p.parent.name != "executors"], ids=lambda p: p.stem)
def test_only_executors_branch_on_an_executors_name(path: Path) -> None:
    names = {"local", "slurm", "docker"}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Compare) and "executor" in ast.unparse(node.left):
            constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
            assert not constants & names, ast.unparse(node)


# --- a quick start

HEAVY = ("nemo_run", "torch", "pydantic", "omegaconf", "transformers", "rich")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["pretrain", "--run", "no-such-profile"], 2),
        *(([name, "--help"], 0) for name in ("pretrain", *registry.COMMANDS)),
    ],
)
def test_quick_answers_import_nothing_heavy(argv: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "launch.py"), *argv],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environ(),
    )
    assert done.returncode == code, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "automodel_launch.commands.main" in imported
    assert imported & set(HEAVY) == set()


def test_who_looks_at_jobs_imports_neither_yaml_nor_schemas(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout").root
    for words in (["jobs"], ["status", "none"], ["logs", "none"], ["cancel", "none"]):
        program = f"""import sys
sys.path[0], sys.argv[1:] = {str(root)!r}, {words}
from automodel_launch.commands.main import main
code = main()
print("MODULES", code, *sys.modules)"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environ())
        code, *imported = done.stdout.rpartition("MODULES")[2].split()
        assert code == ("0" if words == ["jobs"] else "2"), done.stdout + done.stderr
        assert set(imported) & {*HEAVY, "yaml", "tomli", "jinja2"} == set(), words


def test_a_dry_run_for_slurm_imports_what_it_needs(tmp_path: Path) -> None:
    """No NeMo-Run for its script (executors/slurm/nemo_text.py), no OmegaConf where a config refers to nothing."""
    (tmp_path / "env.toml").write_text(f'[c]\nexecutor = "slurm"\nremote_job_dir = "{tmp_path}"\ngpus_per_node = 8\n')
    (tmp_path / "one.py").write_text('# /// script\n# [tool.runspec]\n# name = "one"\n# ///\n')
    (tmp_path / "one.yaml").write_text("a: 0\n")
    words = [str(tmp_path / "one.py"), "-c", str(tmp_path / "one.yaml"), "--run", "c", "--dry-run", "--offline"]
    environ = {**clean_environ(), "LAUNCH_ENV": str(tmp_path / "env.toml")}
    program = f"""import os, sys
sys.argv[1:] = {words}
from automodel_launch.commands.main import main
assert main() == 0
assert "PYDANTIC_DISABLE_PLUGINS" not in os.environ
print("MODULES", *sys.modules)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environ)
    assert "#SBATCH --gpus-per-node=8" in done.stdout, done.stdout + done.stderr
    imported = set(done.stdout.rpartition("MODULES")[2].split())
    unneeded = ("nemo_run", "torch", "torchx", "fiddle", "jinja2", "invoke", "rich", "omegaconf")
    assert imported & set(unneeded) == set()
    assert {name for name in imported if name.endswith(".noise")} <= {"automodel_launch.backends.noise"}


def test_planning_imports_neither_nemo_run_nor_torch() -> None:
    modules = ("plan.plan", "checks", "executors.local")
    program = f"import sys, {', '.join(f'{PACKAGE}.{module}' for module in modules)}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=clean_environ()
    )
    assert set(done.stdout.split()) & {"nemo_run", "torch", "rich"} == set()


# --- the surface

COMMON = {"--help", "--env", "--json"}
LAUNCH = COMMON | {"--config", "--run", "--batch", "--dry-run", "--full", "--name", "--fresh", "--force", "--offline"}
SWEEPS = {"--sweep", "--sweep-file", "--at-most", "--stop-after-failures"}
LAUNCH |= {"--rehearse", "--no-rehearse", "--verbose", "--after", "--from", "--export", "--export-plain", *SWEEPS}
SURFACE = {
    "recipes": COMMON,
    "configs": COMMON,
    "profiles": COMMON,
    "pipeline": COMMON | {"--run", "--batch", "--dry-run", "--force", "--offline"},
    "jobs": COMMON | {"--watch"},
    "status": COMMON | {"--watch"},
    "attach": COMMON | {"--verbose"},
    "logs": COMMON | {"--rank", "--follow", "--errors", "--grep", "--since"},
    "stacks": COMMON | {"--rank"},
    "profile": COMMON | {"--steps", "--ranks", "--no-trace"},
    "save": COMMON,
    "exec": COMMON | {"--node"},
    "metrics": COMMON | {"--csv"},
    "compare": COMMON | {"--by", "--csv"},
    "report": COMMON | {"--output", "--open", "--watch"},
    "diff": COMMON | {"--full"},
    "reproduce": LAUNCH - {"--config", "--fresh", "--from", "--after", *SWEEPS},
    "checkpoints": COMMON | {"--yes", "--keep", "--public"},
    "evaluate": LAUNCH - {"--from", "--after", *SWEEPS},
    "cancel": COMMON | {"--now"},
    "pause": COMMON,
    "resume": COMMON,
    "prune": COMMON | {"--older-than", "--state", "--larger-than", "--keep", "--yes"},
    "nodes": COMMON | {"--forgive"},
    "check": LAUNCH - {"--full", "--export", "--export-plain", *SWEEPS},
    "doctor": COMMON | {"--gpu"},
    "image": COMMON,
    "pretrain": LAUNCH,
}


def test_commands_and_their_options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A new command or option belongs into the documentation, and then here."""
    monkeypatch.setenv("COLUMNS", "80")
    assert set(registry.COMMANDS) == set(SURFACE) - {"pretrain"}
    for command, options in SURFACE.items():
        with pytest.raises(SystemExit):
            main.main([command, "--help"])
        text = capsys.readouterr().out
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) == options, command
        assert max(map(len, text.splitlines())) <= 80, command
        assert "[PROFILE]" not in text or command == "profiles"  # what has to be named is no option
        assert "[JOB]" not in text or "(default: last)" in " ".join(text.split()), command


def test_no_arguments_show_the_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "RECIPE" in said.err
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [command for command in registry.COMMANDS if command not in text] == []
    assert max(map(len, text.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "200")
    assert main.main(["--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < len(text.splitlines())
