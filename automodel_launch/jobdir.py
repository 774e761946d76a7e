"""The job's directory on a file system of this machine: what the node agent and the recipe have written there."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.jobs import Status


@dataclass(frozen=True)
class JobDir:
    """Readers of `<job root>/<job id>/`; every file is written atomically, so a reader sees it whole or not at all."""

    path: Path

    def exit_record(self) -> dict[str, Any] | None:
        """exit.json: how the job ended, written by itself."""
        return _json(self.path / "exit.json")

    def node(self, rank: int) -> dict[str, Any] | None:
        """nodes/RANK.json: the heartbeat of a node's agent."""
        return _json(self.path / "nodes" / f"{rank}.json")

    def log(self, rank: int) -> Path:
        """Log of a global rank."""
        return self.path / "logs" / f"rank-{rank}.log"

    def ranks(self) -> list[int]:
        """Global ranks that have a log, in order."""
        names = (file.stem.removeprefix("rank-") for file in (self.path / "logs").glob("rank-*.log"))
        return sorted(int(name) for name in names if name.isdigit())

    def agent_log(self, node: int = 0) -> Path:
        """What the node's agent said: startup commands, torchrun."""
        return self.path / "logs" / f"agent-{node}.log"

    def last_metrics(self) -> dict[str, Any] | None:
        """The last training step of metrics.jsonl."""
        try:
            with (self.path / "metrics.jsonl").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().splitlines()
        except OSError:
            return None
        records = (_parse(line) for line in reversed(lines))
        return next((record for record in records if record and "loss" in record), None)

    def agent_pid(self) -> int | None:
        """The agent's process, if it runs on this machine now."""
        node = self.node(0)
        if node is None or node.get("host") != socket.gethostname():
            return None
        pid, start = node.get("agent_pid"), node.get("agent_start")
        return pid if isinstance(pid, int) and start is not None and _start_time(pid) == start else None

    def status(self) -> Status:
        """State of a job whose nodes are this machine."""
        alive = self.agent_pid() is not None  # asked first: the agent writes exit.json before it goes
        ended = self.exit_record()
        if ended and "state" in ended:
            keys = ("code", "error", "rank", "node", "step", "log", "signal", "started", "ended")
            return Status(ended["state"], **{key: ended.get(key) for key in keys})
        node = self.node(0)
        if node is None or "host" not in node:
            reason = "its directory is gone" if not self.path.is_dir() else "its agent has not reported yet"
            return Status("UNKNOWN", error=reason)
        if node.get("host") != socket.gethostname():
            return Status("UNKNOWN", error=f"it runs on {node.get('host')}", step=node.get("step"))
        if not alive:
            return Status(
                "FAILED", code=1, error="its node agent died without a record (killed?)", step=node.get("step")
            )
        return Status("RUNNING", step=node.get("step"), started=node.get("time"))


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return _parse(path.read_bytes())
    except OSError:
        return None


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (proc(5), field 22): tells a reused pid from the same process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
