"""What each test costs: CPU seconds, with all that it started, and wall-clock seconds; a line of JSON a test.

    TEST_COSTS=/tmp/costs python -m pytest -p tests.tools.costs -n 4 --dist loadfile --no-loadscope-reorder
    python -m tests.tools.costs /tmp/costs            # a table of the files, the longest first
    python -m tests.tools.costs /tmp/costs --write    # tests/seconds.json, of the files that were measured

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
from typing import NamedTuple

import pytest

from tests import balance

CGROUPS = Path("/sys/fs/cgroup/cpuacct")
SHORT_FILE, SHORT_TEST = 2.0, 5.0
"""Seconds below which a file, and a test of its own, does not stand in seconds.json."""


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


class Recorder:
    """Appends to a file of this process what each test costs, with its fixtures."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{os.getpid()}.jsonl"
        self._meter = Meter()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        cpu, wall = self._meter.seconds(), time.monotonic()
        yield
        cost = Cost(item.nodeid, self._meter.seconds() - cpu, time.monotonic() - wall, shares(item))
        with open(self._file, "a") as file:
            file.write(json.dumps(cost) + "\n")


class Cost(NamedTuple):
    """Of one test, in seconds; `shares`: it has a fixture in common with other tests of its file."""

    test: str
    cpu: float
    wall: float
    shares: bool

    @property
    def file(self) -> str:
        """The file that holds the test."""
        return self.test.partition("::")[0]


def shares(item: pytest.Item) -> bool:
    """Whether a fixture of the test is made once for its module, class or folder."""
    found = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  # pytest has no public way (9.2)
    return any(definitions[-1].scope in ("module", "class", "package") for definitions in found.values())


def pytest_configure(config: pytest.Config) -> None:
    """With xdist, only the workers run tests."""
    if (folder := os.environ.get("TEST_COSTS")) and (
        hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    ):
        config.pluginmanager.register(Recorder(Path(folder)), "test-costs")


def read(folder: Path) -> dict[str, list[Cost]]:
    """The tests of each file."""
    files: dict[str, list[Cost]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            cost = Cost(*json.loads(line))
            files[cost.file].append(cost)
    return files


def show(files: dict[str, list[Cost]]) -> None:
    """A table."""
    rows = sorted(((sum(c.wall for c in costs), sum(c.cpu for c in costs), name) for name, costs in files.items()))
    print(f"{'cpu s':>8} {'wall s':>8} {'tests':>6}")
    for wall, cpu, name in reversed(rows):
        print(f"{cpu:8.1f} {wall:8.1f} {len(files[name]):6}  {name}")
    print(f"{sum(row[1] for row in rows):8.0f} {sum(row[0] for row in rows):8.0f} {sum(map(len, files.values())):6}")


def write(files: dict[str, list[Cost]], data: Path = balance.DATA) -> None:
    """Bring seconds.json up to date: the files that were measured; files that are gone leave it."""
    known = json.loads(data.read_text()) if data.exists() else {}
    for name, costs in files.items():
        alone = {
            cost.test.partition("::")[2]: cost.wall for cost in costs if cost.wall >= SHORT_TEST and not cost.shares
        }
        rest = sum(cost.wall for cost in costs) - sum(alone.values())
        known[name] = {test: round(seconds, 1) for test, seconds in {balance.REST: rest, **alone}.items()}
    kept = {n: t for n, t in known.items() if sum(t.values()) >= SHORT_FILE and (data.parents[1] / n).exists()}
    data.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


if __name__ == "__main__":
    measured = read(Path(sys.argv[1]))
    write(measured) if "--write" in sys.argv else show(measured)
