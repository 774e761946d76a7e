"""What tests of Megatron-Bridge share: its Python, a small config with data, and runs in processes of their own.

Its Python is that of `bash scripts/setup.sh --bridge`, 1.5 GB. Without it these tests skip, except in CI, where nobody
would notice (`bridge` of tests/conftest.py). One training is part of every run of the tests; `bash scripts/test.sh
--bridge` runs the slow ones.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.conftest import LIMIT_S
from tests.recipes.pretrain_fixtures import ROOT, VOCABULARY, write_data

PYTHON = ROOT / ".venv-bridge" / "bin" / "python"
SCRIPTS = Path(__file__).parent / "bridge_scripts"
STEPS = 30

needs_bridge = pytest.mark.usefixtures("bridge")

_LOSS = re.compile(r"\] iteration +(\d+)/.*\| lm loss: (\S+) \|")
SMALL: dict[str, Any] = {
    "hf_configs": {"Qwen/Qwen3-8B": {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64}},
    "train": {"train_iters": STEPS, "global_batch_size": 8, "eval_interval": 15, "eval_iters": 1},
    "model": {"seq_length": 32},
    "scheduler": {"lr_warmup_iters": 2, "lr_decay_iters": STEPS},
    "checkpoint": {"save_interval": 8},
}
"""What makes a run of configs/pretrain-bridge/tiny.yaml take seconds beyond its imports."""


def write_bridge_data(directory: Path) -> None:
    """As write_data; transformers 4 can read the tokenizer."""
    write_data(directory)
    path = directory / "tiny/tokenizer/tokenizer_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "tokenizer_class": "PreTrainedTokenizerFast"}))


def write_config(run_dir: Path, data_dir: Path, changes: dict[str, Any] | None = None) -> Path:
    """tiny.yaml with SMALL and the changes on it, resolved as the launcher does; beside the run's directory."""
    config = OmegaConf.load(ROOT / "configs/pretrain-bridge/tiny.yaml")
    own = {"run": {"data_dir": str(data_dir), "dir": str(run_dir)}}
    merged = OmegaConf.to_container(OmegaConf.merge(config, own, SMALL, changes or {}), resolve=True)
    assert isinstance(merged, dict)
    del merged["run"]
    path = run_dir.with_name(f"{run_dir.name}.yaml")
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(merged)))
    return path


@dataclass
class BridgeRun:
    """Attempts of one run of pretrain_bridge.py on two ranks, each with a log of its own."""

    config: Path
    run_dir: Path
    attempts: int = 0

    def start(self, *settings: str) -> subprocess.Popen[bytes]:
        """The next attempt, in a session of its own."""
        self.attempts += 1
        self.run_dir.mkdir(parents=True, exist_ok=True)
        command = [str(PYTHON), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command += [str(ROOT / "recipes/pretrain_bridge.py"), "--config", str(self.config), *settings]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.environ, start_new_session=True)

    def train(self, *settings: str) -> int:
        """An attempt that nothing disturbs; its exit code."""
        return self.start(*settings).wait(300)

    def train_in_forks(self, *settings: str, **environ: str) -> int | None:
        """The same without torchrun, its ranks forked from a process that has Megatron-Bridge imported."""
        self.attempts += 1
        self.run_dir.mkdir(parents=True, exist_ok=True)
        command = [str(ROOT / "recipes/pretrain_bridge.py"), "--config", str(self.config), *settings]
        code, output = in_forks(command, 2, LAUNCH_RUN_DIR=str(self.run_dir), **environ)
        self.log.write_text(output)
        return code

    def interrupt(self, at: int, signum: signal.Signals) -> int:
        """An attempt whose ranks get a signal once iteration `at` is logged; torchrun's exit code."""
        process = self.start()
        while f"iteration {at:8d}/" not in self.text:
            assert process.poll() is None, self.text
            time.sleep(0.1)
        ranks = children(process.pid)
        for pid in ranks:
            os.kill(pid, signum)
        code = process.wait(LIMIT_S)
        for pid in ranks:  # what a killed rank has spawned, in its own group, outlives it: no node agent is there
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return code

    @property
    def log(self) -> Path:
        """Of the last attempt; both ranks write there, as torchrun has it without the node agent."""
        return self.run_dir.with_name(f"{self.run_dir.name}-{self.attempts}.log")

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def environ(self) -> dict[str, str]:
        return {**_environ(), "LAUNCH_RUN_DIR": str(self.run_dir)}

    def losses(self) -> dict[int, float]:
        """Iteration -> loss over all attempts; of one that was done twice, the later one."""
        logs = [self.run_dir.with_name(f"{self.run_dir.name}-{n}.log") for n in range(1, self.attempts + 1)]
        found = (match for log in logs for match in _LOSS.finditer(log.read_text(errors="replace")))
        return {int(match[1]): float(match[2]) for match in found}


def _environ() -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("LAUNCH_", "SLURM_", "PY"))}
    return {**keep, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def in_forks(command: list[str], processes: int = 1, **environ: str) -> tuple[int | None, str]:
    """(exit code, output) of a script with Megatron-Bridge, in forks of a process that has it imported.

    The code is None where it has not come to its end in time (train_server.py).
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps({"processes": processes, "command": command, "environ": environ}) + "\n")
    server.stdin.flush()
    code, output = json.loads(server.stdout.readline())
    return code, output


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Until this process ends: it reads from a pipe of its. No hub is there for what it forks."""
    command = [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("bridge_server.py"))]
    environ = {**_environ(), "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True, env=environ)
    atexit.register(server.communicate)
    return server


def children(pid: int) -> list[int]:
    """Processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of bridge_scripts/ in Megatron-Bridge's Python, with recipes/ on its path."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "recipes"), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    command = [str(PYTHON), "-W", "ignore", str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=280)
