"""One node's agent without processes, on a clock that a test moves, and a counter of what it asks of a file system."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import control, ending, outside, records
from node_agent_lib.errors import Superseded
from node_agent_lib.journal import Journal
from node_agent_lib.records import NodeRecord, RankRecord
from node_agent_lib.spec import Rendezvous, Spec

HEARTBEAT_S = 10.0
_COUNTED = ("stat", "utime", "replace", "listdir", "unlink", "fsync", "open")


class _Loop:
    """The real one's `due`, on the test's clock; no signal, no child."""

    def __init__(self, *_: object) -> None:
        self.now = 0.0
        self.ended: dict[int, int] = {}
        self._next: dict[str, float] = {}

    def wait(self) -> list[tuple[int, float]]:
        return []

    def reap(self) -> None:
        pass

    def due(self, what: str, every_s: float) -> bool:
        if self.now < self._next.get(what, 0.0):
            return False
        self._next[what] = self.now + every_s
        return True


class _Log:
    arriving = -1

    def say(self, line: str) -> None:
        pass

    def take(self, to_end: bool = False) -> None:
        pass


def _spec(directory: Path, nnodes: int) -> Spec:
    job, run = directory / "job", directory / "run"
    for place in (job / "nodes", job / "logs", run):
        place.mkdir(parents=True, exist_ok=True)
    return Spec(
        schema=1,
        job_id="job",
        run_name="run",
        job_dir=str(job),
        run_dir=str(run),
        code_dir=str(directory),
        python=sys.executable,
        launch="python",
        script="none.py",
        args=[],
        nnodes=nnodes,
        nproc_per_node=8,
        rendezvous=Rendezvous("job", 29500),
        env={},
        setup_lines=[],
        startup_commands=[],
        secrets_file=None,
        stop_grace_s=20.0,
        heartbeat_s=HEARTBEAT_S,
        stop_with_parent=False,
        stall_s=None,
    )


class Agent:
    """Node `node` of `nnodes` below `directory`: its real journal and control; ranks and log are left out."""

    def __init__(self, directory: Path, node: int, nnodes: int) -> None:
        self.spec = _spec(directory, nnodes)
        self.journal = Journal(self.spec, node, _Log())  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control, "Loop", _Loop)
            self.control = control.Control(self.spec, self.journal, None)
        self._loop: Any = self.control.loop
        self.control._outside = outside.Outside(
            self.spec.job_dir, self.spec.run_dir, nnodes, clock=lambda: self._loop.now
        )
        self._superseded = False

    def pass_time(self, seconds: int, each_minute: Callable[[], None] = lambda: None) -> None:
        """Four ticks a second, as the real loop makes them."""
        for tick in range(seconds * 4):
            self._loop.now += 0.25
            if tick % 240 == 0:
                self.journal.record.active = self._loop.now  # as hang.py notes it
                each_minute()
            try:
                self.control.tick()
            except Superseded:
                self._superseded = True

    def seen(self) -> set[str]:
        """What it has noticed."""
        peers = self.control.peers
        said = {"stop": self.control.stop, "failed": peers.failed, "hung": peers.hung, "superseded": self._superseded}
        return {name for name, true in said.items() if true}

    def read(self) -> list[NodeRecord]:
        """The records that are there."""
        return records.read_nodes(self.spec.job_dir)

    def end(self, code: int) -> int:
        """As a node whose ranks have ended with `code`; what the job's result is, as far as it sees."""
        record = self.journal.record
        record.state, record.code = "ended", code
        host = record.host
        record.records = [RankRecord(record.node, 0, host, 1, 1, 1, 1, started=1.0, ended=2.0, code=code)]
        return ending.report(self.spec, self.journal, self.control.peers)


class Counted:
    """What stands in the counter."""

    @staticmethod
    def reads_of_nodes(operations: Counter[str]) -> int:
        """How often a nodes/K.json was opened to be read."""
        return operations["read nodes"]


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts operations on files, each of which is a round trip on a network file system."""
    counter: Counter[str] = Counter()

    def count(name: str, real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            counter[name] += 1
            return real(*args, **more)

        return call

    real_open = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        counter["open"] += 1
        if "r" in mode and f"{os.sep}nodes{os.sep}" in str(file):
            counter["read nodes"] += 1
        return real_open(file, mode, *args, **more)

    for name in _COUNTED:
        monkeypatch.setattr(os, name, count(name, getattr(os, name)))
    monkeypatch.setattr(os.path, "exists", count("stat", os.path.exists))
    monkeypatch.setattr(builtins, "open", opened)
    yield counter
