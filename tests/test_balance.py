"""How the tests are spread over workers: nothing is lost, nothing that shares is torn apart, the longest come first."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import balance
from tests.conftest import HEAVY, ROOT, clean_environ
from tests.tools import costs

PART, (FOLDER, FILE_WITH_IT, *_) = next(iter(balance.TOGETHER.items()))
PARTS = balance.Parts(
    {
        "a.py": {"": 20.0, "test_x[1]": 30.0, "test_y": 20.0, "test_z": 10.0},
        "b.py": {"": 50.0, "test_x": 5.0},
        "c.py": {"test_x": 70.0, "test_y": 70.0},
        f"{FOLDER}a.py": {"": 20.0, "test_x": 50.0},
        f"{FOLDER}b.py": {"": 15.0},
        FILE_WITH_IT: {"": 5.0},
    }
)


@pytest.mark.parametrize(
    ("test", "part"),
    [
        ("a.py::test_x[1]", "a.py 2"),  # 20 + 30 is over the limit
        ("a.py::test_y", "a.py 3"),
        ("a.py::test_z", "a.py 3"),
        ("a.py::test_x[2]", "a.py"),
        ("a.py::Some::test_x", "a.py"),
        ("b.py::test_x", "b.py 2"),
        ("c.py::test_x", "c.py"),
        ("c.py::test_y", "c.py 2"),
        ("new.py::test_x", "new.py"),
        (f"{FOLDER}a.py::test_x", PART),
        (f"{FOLDER}new.py::test_x", PART),
        (f"{FILE_WITH_IT}::test_x", PART),
    ],
)
def test_the_part_of_a_test(test: str, part: str) -> None:
    assert PARTS.of(test) == part


def test_the_longest_part_comes_first_and_stays_together() -> None:
    tests = ["new.py::test_1", "a.py::test_0", "a.py::test_y", "b.py::test_0", "a.py::test_z", "a.py::test_9"]
    places = PARTS.sorted(tests)
    assert sorted(tests, key=places.__getitem__) == [tests[i] for i in (3, 2, 4, 1, 5, 0)]


def test_a_folder_that_stays_together_counts_as_a_whole() -> None:
    assert PARTS.seconds[PART] == 90.0
    assert all((ROOT / path).exists() for paths in balance.TOGETHER.values() for path in paths)


def test_what_is_known_is_still_there() -> None:
    for file, tests in json.loads(balance.DATA.read_text()).items():
        text = (ROOT / file).read_text()
        for name in filter(None, tests):
            function = name.partition("[")[0].rpartition("::")[2]
            assert re.search(rf"^ *def {function}\(", text, re.MULTILINE), f"{file} has no {name}: scripts/test-costs"


FILE = """
import os, pytest
@pytest.fixture(scope="module")
def made():
    return os.getpid()
def test_a(made): pass
@pytest.mark.parametrize("n", [1, 2])
def test_b(n): open(f"b{n}", "w").write(str(os.getpid()))
def test_c(made): pass
"""


def test_measured_and_spread(tmp_path: Path) -> None:
    """A whole round: costs are measured and written, and the next session runs by them."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(FILE)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.tools.costs", "-p", "no:cacheprovider"]
    environ = {**clean_environ(), "TEST_COSTS": str(tmp_path / "costs"), "PYTHONPATH": str(ROOT)}
    own = f"--basetemp={tmp_path}/own"  # pytest's would first remove an earlier session's files, of some GB
    words += [f"--rootdir={tmp_path}", own, "-n", "1", "tests/test_it.py"]
    subprocess.run(words, cwd=tmp_path, env=environ, check=True, capture_output=True)
    files = costs.read(tmp_path / "costs")
    (name,) = files
    assert [(cost.test.partition("::")[2], cost.shares) for cost in files[name]] == [
        ("test_a", True),
        ("test_b[1]", False),
        ("test_b[2]", False),
        ("test_c", True),
    ]
    assert all(cost.cpu >= 0 and cost.wall > 0 for cost in files[name])
    slow = {name: [cost._replace(wall=30.0) for cost in files[name]], "gone.py": files[name]}
    costs.write(slow, tmp_path / "tests" / "seconds.json")
    written = json.loads((tmp_path / "tests" / "seconds.json").read_text())
    assert written == {name: {"": 60.0, "test_b[1]": 30.0, "test_b[2]": 30.0}}
    parts = balance.Parts(written)
    assert [parts.of(cost.test) for cost in files[name]] == [name, f"{name} 2", f"{name} 3", name]


def test_collecting_the_tests_imports_nothing_that_takes_seconds(pytestconfig: pytest.Config) -> None:
    """Each of xdist's workers collects all of them: a test imports torch and its like when it runs."""
    assert pytestconfig.stash[HEAVY] == []
