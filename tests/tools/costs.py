"""What each test costs: CPU seconds, with all that it started, and wall-clock seconds; a line of JSON a test.

    TEST_COSTS=/tmp/costs python -m pytest -p tests.tools.costs -n 2 --dist loadfile
    python -m tests.tools.costs /tmp/costs        # a table of the files, the most expensive first

CPU is what a busy machine does not change much, unlike wall-clock time. With a cgroup of version 1 that may be written,
daemons and detached jobs are counted, too; without it, only children that were waited for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup/cpuacct")


class Meter:
    """The CPU seconds of this process and of everything that it starts from now on."""

    def __init__(self) -> None:
        self._group: Path | None = CGROUPS / f"test-costs-{os.getpid()}"
        try:
            self._group.mkdir()
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self._group = None

    def seconds(self) -> float:
        if self._group is None:
            times = os.times()
            return times.user + times.system + times.children_user + times.children_system
        return int((self._group / "cpuacct.usage").read_text()) / 1e9


class Costs:
    """Appends to a file of this process what each test costs, with its fixtures."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{os.getpid()}.jsonl"
        self._meter = Meter()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        cpu, wall = self._meter.seconds(), time.monotonic()
        yield
        cost = {"cpu": self._meter.seconds() - cpu, "wall": time.monotonic() - wall}
        with open(self._file, "a") as file:
            file.write(
                json.dumps({"test": item.nodeid, **{name: round(value, 3) for name, value in cost.items()}}) + "\n"
            )


def pytest_configure(config: pytest.Config) -> None:
    """With xdist, only the workers run tests."""
    if (folder := os.environ.get("TEST_COSTS")) and (
        hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    ):
        config.pluginmanager.register(Costs(Path(folder)), "test-costs")


def read(folder: Path) -> dict[str, tuple[float, float, int]]:
    """CPU seconds, wall-clock seconds and the number of tests of each file."""
    files: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            cost = json.loads(line)
            files[cost["test"].split("::")[0]].append((cost["cpu"], cost["wall"]))
    return {name: (sum(c for c, _ in costs), sum(w for _, w in costs), len(costs)) for name, costs in files.items()}


def main() -> None:
    """Print the table."""
    costs = read(Path(sys.argv[1]))
    print(f"{'cpu s':>8} {'wall s':>8} {'tests':>6}")
    for name, (cpu, wall, tests) in sorted(costs.items(), key=lambda entry: -entry[1][1]):
        print(f"{cpu:8.1f} {wall:8.1f} {tests:6}  {name}")
    print(*(f"{sum(values):.0f}" for values in zip(*costs.values(), strict=True)), "in all")


if __name__ == "__main__":
    main()
