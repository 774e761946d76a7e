"""The contract between launcher and job: one file under two names, and no copy of what it says beside it."""

from __future__ import annotations

import ast
import dataclasses
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests.conftest import ROOT, clean_environ

FILE = ROOT / "recipes" / "contract.py"
LINK = ROOT / "automodel_launch" / "contract.py"


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT / "recipes").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted((ROOT / "recipes").rglob("*.py"))}


def test_both_names_are_one_file() -> None:
    assert LINK.is_symlink()
    assert LINK.readlink() == Path("../recipes/contract.py")
    assert LINK.resolve() == FILE


def test_it_needs_nothing_and_any_python_of_a_node() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=contract.OLDEST_PYTHON)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {str(name).partition(".")[0] for name in imported} <= {*sys.stdlib_module_names, "__future__"}


def test_the_job_imports_it_alone(tmp_path: Path) -> None:
    """As the node agent does: its own directory is on the path, and nothing of the launcher."""
    (tmp_path / "contract.py").write_bytes(FILE.read_bytes())
    program = "import contract, sys; print(contract.EXIT, *(m for m in sys.modules if m.startswith('automodel')))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=clean_environ(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "exit.json"


def test_names_that_others_have_written_down() -> None:
    """Jobs that are under way and people's scripts know them by these names."""
    assert contract.rank_log(3) == "logs/rank-3.log"
    assert contract.rank_of_log("rank-3.log") == 3
    assert contract.rank_of_log("agent-3.log") is None
    assert contract.node_file(0) == "nodes/0.json"
    assert contract.checkpoint_step("epoch_0_step_149") == 149
    assert contract.checkpoint_step("epoch_0_step_149.damaged") is None
    assert contract.checkpoint_step("iter_0000150") == 149
    assert contract.checkpoint_step("damaged-iter_0000150") is None
    assert contract.is_saved("iter_0000150", [".metadata", "train_state.pt", "run_config.yaml", "__0_0.distcp"])
    assert not contract.is_saved("iter_0000150", [".metadata", "train_state.pt"])
    assert contract.is_saved("epoch_0_step_149", ["losses.json"])
    assert not contract.is_saved("epoch_0_step_149", ["losses.json", ".incomplete"])
    assert contract.ENDED >= contract.ENDED_FOR_GOOD
    assert set(contract.SLURM_FAILURES.values()) | {contract.COMPLETED} == contract.ENDED


# --- one place for every name

JOB_SIDE = {name: path for name, path in MODULES.items() if name != "contract" and not name.startswith("data_prep")}
FILES = (
    contract.NOTES,
    *(contract.EXIT, contract.HISTORY, contract.BAD_NODES, contract.FINISHED, contract.METRICS, contract.AGENT),
    *(contract.INCOMPLETE, contract.EVENTS, contract.RESERVE, contract.PLAN, contract.RUN, contract.SECRETS),
    *(contract.DATA, contract.PHASES),
    *("rank-{", "agent-{", "stack-{", "failed-{", "hung-{", "LAUNCH_"),
)
WORDS = {contract.STOP, contract.NODES, contract.CHAIN, contract.LOCK, contract.SCRIPT, contract.LOGS, contract.RESUME}
PRIVATE = {"rank_files.py": {"rank-{.json"}}  # what lies in the agent's own directory is no part of the contract
# of agent.json; a word between nodes; of exit.json
KEYS = {"spec.py": {"script", "chain"}, "pairs.py": {"stop"}, "redaction.py": {"nodes"}}


def _strings(path: Path) -> Iterator[str]:
    """String literals of a module; docstrings and the names of keys excepted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            skipped |= {id(item.value) for item in node.body if isinstance(item, ast.Expr)}
        elif isinstance(node, ast.Dict):
            skipped |= {id(key) for key in node.keys}
        elif isinstance(node, ast.Subscript):
            skipped.add(id(node.slice))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            skipped |= {id(argument) for argument in node.args}
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


@pytest.mark.parametrize("path", JOB_SIDE.values(), ids=JOB_SIDE.keys())
def test_a_name_stands_in_the_contract_alone(path: Path) -> None:
    strings = set(_strings(path))
    found = {
        text for text in strings if any(re.search(rf"(?<![a-z])(?<!CUDA_){re.escape(name)}", text) for name in FILES)
    }
    assert found == PRIVATE.get(path.name, set())
    assert strings & WORDS - KEYS.get(path.name, set()) == set()


def test_the_search_finds_a_name_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    body = 'return f"rank-{n}.log", j + "/exit.json", j["stop"], "stop"'
    path.write_text(f'"""exit.json"""\ndef f(n, j):\n    """stop"""\n    {body}\n')
    assert set(_strings(path)) >= {"rank-{.log", "/exit.json", "stop"}
    assert sum(text == "stop" for text in _strings(path)) == 1


def test_records_hold_the_keys_of_the_contract() -> None:
    sys.path.insert(0, str(ROOT / "recipes"))
    from node_agent_lib import records, spec, verdict

    def names(kind: type) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    assert names(records.NodeRecord) == set(contract.NODE_KEYS)
    assert names(records.RankRecord) == set(contract.RANK_KEYS)
    assert names(records.Stop) == set(contract.STOP_KEYS)
    assert names(records.Failure) == set(contract.FAILURE_KEYS)
    assert names(records.Noticed) == set(contract.NOTICED_KEYS)
    assert names(spec.Spec) == {*contract.AGENT_KEYS, *contract.AGENT_OPTIONAL_KEYS}
    assert set(verdict.judge([], 1)) == set(contract.EXIT_KEYS)
    assert set(contract.STATUS_KEYS) <= set(contract.EXIT_KEYS)


# --- recipes/ as a whole


def test_recipes_have_no_circle_of_imports() -> None:
    """Late imports count too: a module that is imported late belongs to the circle all the same."""
    edges = {module: imports_of(module, path) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for other in sorted(edges[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def imports_of(module: str, path: Path) -> set[str]:
    """The modules of recipes/ that a module imports, itself left out."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*parts, *([node.module] if node.module else [])])
            members = {f"{origin}.{alias.name}" for alias in node.names}
            found |= members & set(MODULES)
            if not members <= set(MODULES):
                found.add(origin)
    return (found & set(MODULES)) - {module}


def test_recipes_are_small_files() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in MODULES.values()}
    assert lengths.pop("contract.py") <= 400  # a list, which grows with what both worlds say to each other
    assert max(lengths.values()) <= 350
    assert statistics.median(lengths.values()) < 130
