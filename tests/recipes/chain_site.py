"""A job's directory and fakes of Slurm's commands, for what `begin` and `finish` ask of Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import chain

AGENT = Path(__file__).parents[2] / "recipes" / "node_agent.py"
LIMITS = {"jobs": None, "failures": 3, "exclude": ["c9"]}


def exported(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What `begin` tells the agents."""
    return dict(line.replace("export ", "").split("=", 1) for line in done.stdout.splitlines())


class Site:
    """A job's directory and fakes of Slurm's commands, which note their calls."""

    def __init__(self, root: Path, chained: dict[str, Any] | None) -> None:
        self.bin, self.job, self.run = root / "bin", root / "jobs" / "a.1", root / "jobs" / "a"
        for folder in (self.bin, self.job, self.run):
            folder.mkdir(parents=True)
        spec = {"job_id": "a.1", "run_dir": str(self.run), "chain": chained, "checkpoint_dir": None}
        (self.job / "agent.json").write_text(json.dumps(spec, indent=1))
        (self.job / "script").touch()
        self.says("sbatch", f"n=$(cat {self.bin}/n 2>/dev/null || echo 77); echo $n; echo $((n + 1)) > {self.bin}/n")
        self.says("squeue", "echo PENDING")
        self.says("scontrol", "echo JobId=1 JobState=FAILED StartTime=1000000 EndTime=1000600")
        self.says("sdiag", "echo 'sdiag output at Mon Jan 12 13:46:40 1970 (1000100)'")
        self.says("scancel", ":")
        self.says("sinfo", ":")

    def says(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> {self.bin}/calls\n{script}\n')
        path.chmod(0o755)

    def call(self, command: str, slurm_id: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        env = {"PATH": path, "SLURM_JOB_ID": slurm_id, "SLURM_JOB_NODELIST": "c[1-2]", **environ}
        words = [sys.executable, str(AGENT), command, str(self.job)]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        path = self.bin / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def resume(self, slurm_id: str) -> None:
        """What the launcher's `resume` leaves."""
        link = chain.read(str(self.job))
        if link is not None:
            chain.write(str(self.job), chain.Link(link.now, slurm_id, link.attempt))
        (self.job / "resume").write_text(slurm_id + "\n")

    def node(self, attempt: int, **values: Any) -> None:
        record = {"job_id": "a.1", "node": 0, "nnodes": 1, "attempt": attempt, "host": "c1", "agent_pid": 1}
        record |= {"agent_start": 1, "started": 1.0, "state": "ended", "time": 2.0, **values}
        (self.job / "nodes").mkdir(exist_ok=True)
        (self.job / "nodes" / "0.json").write_text(json.dumps(record))

    def fail(self, attempt: int, error: str = "boom") -> None:
        self.node(attempt, failure={"code": 1, "error": error, "time": 2.0}, code=1)
