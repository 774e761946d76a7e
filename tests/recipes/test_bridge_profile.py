"""A profile of a training with Megatron-Bridge that goes on."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.recipes.bridge_fixtures import BridgeRun, needs_bridge, write_bridge_data, write_config

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(1200), needs_bridge]


class InAJob(BridgeRun):
    """With the directory of a job, in which it hears requests; without checkpoints."""

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "LAUNCH_JOB_DIR": str(self.run_dir)}


def test_both_ranks_are_profiled_and_the_training_goes_on(tmp_path: Path) -> None:
    write_bridge_data(tmp_path)
    run_dir = tmp_path / "run"
    changes = {
        "train": {"train_iters": 4000, "eval_interval": 4000},
        "checkpoint": {"save": None, "save_interval": 4000},
    }
    run = InAJob(write_config(run_dir, tmp_path, {**changes, "scheduler": {"lr_decay_iters": 4000}}), run_dir)
    process = run.start()
    try:
        wait_for(lambda: (run_dir / "answers/profiler.json").exists() or process.poll() is not None, 300)
        asked = {"id": "a", "what": "profile", "time": 1.0, "first": None, "steps": 2, "ranks": None, "trace": True}
        (run_dir / "request-profile").write_text(json.dumps(asked))
        wait_for(lambda: len(list(run_dir.glob("profiles/*/rank-?.json"))) == 2 or process.poll() is not None)
        first = json.loads((run_dir / "answers/profiler-a.json").read_text())["first"]
        for path in run_dir.glob("profiles/*/rank-?.json"):
            record = json.loads(path.read_text())
            assert (record["error"], record["steps"]) == (None, 2)
            with gzip.open(path.with_name(record["trace"]), "rt") as file:
                names = {event["name"] for event in json.load(file)["traceEvents"]}
            assert {f"ProfilerStep#{first}", f"ProfilerStep#{first + 1}"} <= names
        wait_for(lambda: max(run.losses(), default=0) > first + 3 or process.poll() is not None)
        assert process.poll() is None, run.log.read_text()[-2000:]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
