"""The agent's byte code travels to a job on this machine, and is taken only for the sources that it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from automodel_launch.plan import bytecode, packaging
from automodel_launch.remote.filesystem import LOCAL
from tests.conftest import ROOT, Checkout

_COMPILED = """
import json, sys
sys.path.insert(0, sys.argv[1])
seen = []
sys.addaudithook(lambda event, args: seen.append(str(args[1])) if event == "compile" else None)
from node_agent_lib import start, worker
from node_agent_lib import times
files = {module.__file__ for name, module in sys.modules.items() if name.startswith("node_agent_lib")}
named = {vars(times)["exports"].__code__.co_filename}
print(json.dumps([[path for path in seen if path in files], getattr(times, "MARK", None), sorted(named)]))
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's, without byte code, where a Python writes it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    made = tmp_path / "checkout" / "recipes"
    shutil.copytree(ROOT / "recipes", made, ignore=shutil.ignore_patterns("__pycache__"))
    return made


def job(recipes: Path, job_dir: Path) -> Path:
    """The agent of a job, as a launch on this machine writes it; its code/recipes."""
    files = packaging.agent(recipes)
    job_dir.mkdir()
    LOCAL.put(str(job_dir), {**{file.path: file.source for file in files}, **bytecode.beside(files)}, {})
    return job_dir / "code" / "recipes"


def compiled(code: Path) -> tuple[list[str], str | None, list[str]]:
    """The agent's files that its start compiles there, a mark of one of them, and the file that a function names."""
    command = [sys.executable, "-c", _COMPILED, str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files, mark, named = json.loads(done.stdout)
    return files, mark, named


def test_the_agent_of_a_job_here_compiles_nothing_but_what_was_changed(recipes: Path, tmp_path: Path) -> None:
    """Before, it compiled 90 modules in each job's directory."""
    first, second = job(recipes, tmp_path / "one"), job(recipes, tmp_path / "two")
    assert compiled(first) == ([], None, [str(first / "node_agent_lib" / "times.py")])
    changed = second / "node_agent_lib" / "times.py"
    changed.write_text(changed.read_text() + "MARK = '1'\n")
    assert compiled(second) == ([str(changed)], "1", [str(changed)])  # in the job: no size or time says what is valid
    source = recipes / "node_agent_lib" / "times.py"
    source.write_text(source.read_text() + "MARK = '2'\n")  # in the checkout, within the same second
    third = job(recipes, tmp_path / "three")
    assert compiled(third)[:2] == ([], "2")
    assert compiled(first)[:2] == ([], None)


def test_where_none_can_be_written_none_travels(recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = packaging.agent(recipes)
    (recipes / "node_agent_lib" / "times.py").write_text("def (\n")
    made = bytecode.beside(files)
    assert len(made) > 90 and not [path for path in made if "/times." in path]
    for folder in (recipes / "node_agent_lib").rglob("__pycache__"):
        shutil.rmtree(folder)
    monkeypatch.setattr("os.access", lambda path, mode: "node_agent_lib" not in str(path))
    assert {path.split("/")[2] for path in bytecode.beside(files)} == {"__pycache__"}  # of contract.py and its like
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert bytecode.beside(files) == {}


@pytest.mark.e2e
def test_a_launch_here_brings_it_along_and_no_plan_holds_it(checkout: Checkout) -> None:
    checkout.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = checkout.run("stub-one", "--run", "local", "steps=1")
    assert done.returncode == 0, done.stderr
    (row,) = checkout.json("jobs")
    folder = Path(row["job_dir"], "code", "recipes")
    kinds = {path.read_bytes()[4:8] for path in folder.rglob("node_agent_lib/**/*.pyc")}
    assert kinds == {b"\3\0\0\0"}  # what the agent or a rank had compiled would be valid by its time
    assert "pyc" not in Path(row["job_dir"], "plan.json").read_text()
