"""Where the trials run: a job root and data of their own, and launch.py on them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
_LONGEST_S = 300.0
_WARMING = 5  # steps that do not count for the pace


@dataclass(frozen=True)
class Place:
    """`out` holds everything; `cpu`: there is no GPU, and models are small."""

    out: Path
    cpu: bool
    gpu: str  # the card's name
    stamp: str = field(default_factory=lambda: f"{int(time.time()) % 10**6:06d}")  # an earlier trial's runs are others

    @property
    def jobs(self) -> Path:
        """The job root."""
        return self.out / "jobs"

    @property
    def data(self) -> Path:
        """Prepared data."""
        return self.out / "data"

    @property
    def environ(self) -> dict[str, str]:
        """Of launch.py: no network, and the profile `local` of this place."""
        own = {"LAUNCH_ENV": str(self.out / "env.toml"), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        return {**os.environ, **own, "NANOGPT_BIN_PATTERN": f"{self.data}/nanogpt/*.bin"}

    def run(self, name: str) -> str:
        """The name of a run of this trial; its first job is the one with .1."""
        return f"{name}-{self.stamp}"

    def prepare(self) -> None:
        """Its profile, and the quickstart's data."""
        model = next((name for name in ("H100", "H200", "A100", "B200") if name in self.gpu), None)
        lines = ['[local]\nexecutor = "local"\nnodes = 1\nnproc_per_node = 1', f'remote_job_dir = "{self.jobs}"']
        lines += [f'data_dir = "{self.data}"', *([f'gpu = "{model}"'] if model else [])]
        (self.out / "env.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        corpus = [sys.executable, str(ROOT / "scripts" / "make_tiny_corpus.py"), "--out", str(self.data / "tiny")]
        subprocess.run(corpus, check=True, stdout=subprocess.DEVNULL, env=self.environ)
        done = self.launch("data-prep", "-c", "tiny", "+sample=200", "publish=true", "num_shards=1")
        if done.returncode:
            raise RuntimeError(f"data-prep: {tail(done)}")

    def launch(self, *words: str) -> subprocess.CompletedProcess[str]:
        """launch.py to its end."""
        command = [sys.executable, str(ROOT / "launch.py"), *words]
        return subprocess.run(
            command, env=self.environ, cwd=self.out, capture_output=True, text=True, errors="replace",
            timeout=_LONGEST_S, check=False,
        )  # fmt: skip

    def document(self, *words: str) -> Any:
        """What it prints with --json."""
        done = self.launch(*words, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise RuntimeError(f"launch.py {words[0]}: {tail(done)}") from None

    def steps(self, job: str) -> list[dict[str, Any]]:
        """The training steps of a job, as its agent has them; of a step that was done twice both."""
        path = self.jobs / job / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row for row in rows if "loss" in row]

    def wait_for_step(self, job: str, step: int, seconds: float = 240.0) -> None:
        """Until a job has logged a step.

        Raises:
            RuntimeError: it has not within that time.
        """
        end = time.monotonic() + seconds
        while not any(row["step"] >= step for row in self.steps(job)):
            if time.monotonic() > end:
                raise RuntimeError(f"{job} has not come to step {step} within {seconds:.0f} s")
            time.sleep(0.2)


def pace(rows: list[dict[str, Any]]) -> float:
    """Tokens a second, the median of the steps behind the first."""
    return statistics.median(row["tps"] for row in rows[min(_WARMING, len(rows) - 1) :])


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """The last words of a command."""
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return " / ".join(line.strip() for line in said[-4:])[-400:]
