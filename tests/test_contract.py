"""The contract between launcher and job: one file under two names, and no copy of what it says beside it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from automodel_launch import contract
from tests.conftest import ROOT, clean_environ

FILE = ROOT / "recipes" / "contract.py"
LINK = ROOT / "automodel_launch" / "contract.py"


def test_both_names_are_one_file() -> None:
    assert LINK.is_symlink()
    assert LINK.readlink() == Path("../recipes/contract.py")
    assert LINK.resolve() == FILE


def test_it_needs_nothing_and_any_python_of_a_node() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=contract.OLDEST_PYTHON)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {*sys.stdlib_module_names, "__future__"}


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
    assert contract.ENDED >= contract.ENDED_FOR_GOOD
    assert set(contract.SLURM_FAILURES.values()) | {contract.COMPLETED} == contract.ENDED
