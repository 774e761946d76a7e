"""Scripts and files of targets that Python does not read are found before the job, where each rank would end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from automodel_launch.backends import user_code
from automodel_launch.checks import packaging
from tests.workbench import Bench, make_bench

BLOCK = 'dependencies = []\n[tool.runspec]\nbackend = "none"\n[tool.runspec.config]\ndir = "stub"'


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize(
    ("body", "words"),
    [("print 'hi'\n", "Missing parentheses"), ("if 1:\n\tx = 1\n        y = 2\n", "tabs"), ("def (:\n", "invalid")],
)
def test_a_recipe_of_ones_own(bench: Bench, body: str, words: str) -> None:
    script = bench.script("stub", BLOCK)
    plan = bench.planned("a: 1\n")
    assert list(packaging.script_is_python(plan)) == []
    script.write_text(script.read_text() + body)
    (one,) = packaging.script_is_python(plan)
    assert (one.code, one.level) == ("not-python", "error") and words in one.message and "stub.py, line" in one.message


def test_what_an_editor_puts_at_the_head_is_passed_over(bench: Bench) -> None:
    script = bench.script("stub", BLOCK)
    script.write_text("\ufeff" + script.read_text())
    assert list(packaging.script_is_python(bench.planned("a: 1\n"))) == []


def test_what_a_newer_python_may_read_is_a_warning() -> None:
    for text in (b"def first[T](x: T) -> T: return x\n", b"type A = int\n", b"x = f'{'a'}'\n"):
        found = user_code.not_python("a.py", text)
        assert found is None if sys.version_info >= (3, 12) else found and found[0] == "warning"


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("import sys\nsys.exit(1)\n", "`sys.exit(1)`"),
        ("raise KeyboardInterrupt\n", "`raise KeyboardInterrupt`"),
        ("import sys\nsys.exit('not for use')\n", "not for use"),
        ("import sys\nsys.exit(main())\n", None),
        ("import sys\nsys.exit(0)\nraise ValueError\n", None),
        ("quit()\n", None),
        ("try:\n    import x\nexcept ImportError:\n    raise SystemExit(1)\n", None),
        ("def main():\n    raise SystemExit(1)\nif __name__ == '__main__':\n    raise SystemExit(main())\n", None),
    ],
)
def test_a_recipe_that_always_fails(bench: Bench, body: str, ending: str | None) -> None:
    script = bench.script("stub", BLOCK)
    script.write_text(script.read_text() + body)
    found = list(packaging.ends_by_itself(bench.planned("a: 1\n")))
    assert [(one.code, one.level, str(ending) in one.message) for one in found] == [("ends-the-job", "error", True)][
        : ending is not None
    ]


@pytest.mark.parametrize(
    "line", ["import sys\nsys.exit()\n", "exit()\n", "raise SystemExit\n", "import os\nos._exit(0)\n"]
)
def test_a_file_that_ends_as_it_is_imported(bench: Bench, line: str) -> None:
    """A part of the recipe, and the file of a target; below `if` it may be for a call of the file."""
    script = bench.script("stub", BLOCK.replace("[tool.runspec]", '[tool.runspec]\ncode = ["part.py"]', 1))
    script.write_text(script.read_text() + "import part\n")
    part = bench.workspace.recipes / "part.py"
    for text, count in ((line, 1), (f"if __name__ == '__main__':\n    {line.splitlines()[-1]}\n", 0)):
        part.write_text(text)
        plan = bench.planned("a: 1\n")
        assert len(list(packaging.ends_by_itself(plan))) == count
        found = list(user_code.in_file(plan, "x._target_", "recipes/part.py:Model"))
        assert [one.code for one in found][:count] == ["ends-the-job"][:count]
