"""Which tests run in one go on one of xdist's workers, and in what order: the longest first, by measured seconds.

seconds.json has the seconds of each file, and apart from them those of its long tests that share nothing with the
others of their file: these may run elsewhere. `scripts/test-costs` measures and writes it anew. It need not be exact,
and a test that it does not know is run with the rest of its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("seconds.json")
MOST = 45.0
"""Seconds that a part of a file takes at most, unless a single test takes longer."""
REST = ""
"""In seconds.json: all tests of the file that have no entry of their own."""
TOGETHER = {
    "tests/recipes/rehearse/": (
        *("tests/recipes/rehearse/", "tests/backends/automodel/test_memory_judge.py"),
        *("tests/recipes/test_pretrain_models.py", "tests/recipes/test_finetune.py"),
    ),
    "trainings": (
        *("tests/recipes/test_pretrain_runs.py", "tests/recipes/test_checkpoints.py"),
        *("tests/recipes/test_checkpoints_command.py", "tests/recipes/test_evaluate.py"),
        "tests/slurm/test_pretrain_runs.py",
    ),
    "bridge": ("tests/recipes/test_bridge_runs.py", "tests/backends/megatron_bridge/test_schema_file.py"),
}
"""Part -> files, and folders, whose tests it is: what they share takes longer to make than most of them take.

It is AutoModel, imported by the worker itself; by a process that forks ranks (train_server.py); and Megatron-Bridge.
"""


class Parts:
    """Tells the part of each test, and its seconds."""

    def __init__(self, files: dict[str, dict[str, float]]) -> None:
        self._part: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        for file, tests in files.items():
            if (part := self.of(file)) == file:
                self._cut(file, tests)
            else:
                self.seconds[part] = self.seconds.get(part, 0.0) + sum(tests.values())

    def _cut(self, file: str, tests: dict[str, float]) -> None:
        number, self.seconds[file] = 1, tests.get(REST, 0.0)
        part = file
        for name, seconds in sorted(tests.items(), key=lambda entry: -entry[1]):
            if name == REST:
                continue
            if self.seconds[part] and self.seconds[part] + seconds > MOST:
                number += 1
                part = f"{file} {number}"
                self.seconds[part] = 0.0
            self.seconds[part] += seconds
            self._part[f"{file}::{name}"] = part

    def of(self, test: str) -> str:
        """The part of a test with that node id."""
        part = next((part for part, paths in TOGETHER.items() if test.startswith(paths)), None)
        return part or self._part.get(test) or test.partition("::")[0]

    def sorted(self, tests: Iterable[str]) -> dict[str, int]:
        """A place for each of these tests: part by part, the longest part first; else as they are."""
        tests = list(tests)
        first: dict[str, int] = {}
        for place, test in enumerate(tests):
            first.setdefault(self.of(test), place)

        def key(place: int) -> tuple[float, int, int]:
            part = self.of(tests[place])
            return -self.seconds.get(part, 0.0), first[part], place

        return {tests[place]: number for number, place in enumerate(sorted(range(len(tests)), key=key))}


def measured() -> Parts:
    """As seconds.json has them."""
    return Parts(json.loads(DATA.read_text()))


def scheduler(config: Any, log: Any) -> Any:
    """Of xdist's, one that gives a worker that is free the next part."""
    from xdist.scheduler.loadscope import LoadScopeScheduling  # not there where an installed launcher is tested

    class ByParts(LoadScopeScheduling):  # type: ignore[misc]
        _split_scope = staticmethod(measured().of)

    return ByParts(config, log)
