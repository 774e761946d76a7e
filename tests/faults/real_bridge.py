"""A launch tried on Megatron-Bridge itself, for try_real.py: its recipe, its own way to apply a config, its loop.

The Python of `bash scripts/setup.sh --bridge` imports it once; BRIDGE_PYTHON names another one.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from automodel_launch.config import yamlio
from automodel_launch.errors import LaunchError
from tests.faults import launches, real_automodel
from tests.faults.launches import ROOT, Launch, Stage

_OWN = ("recipe", "mode", "step_func", "hf_configs")


def try_bridge(launch: Launch, stage: Stage) -> tuple[str, str]:
    """Train as the launch says, on this machine's CPU; with more than two ranks only its own checks are asked."""
    ranks, run_dir = launch.ranks or 2, stage.here / "run"
    run_dir.mkdir()
    with launches.shell(launch, stage):
        try:
            content: Any = launches.plan(launch, stage).config
        except LaunchError:
            content = real_automodel.composed(launch, stage)
    content = json.loads(json.dumps(yamlio.json_value(content, strict=False)))
    recipe = content.get("recipe")
    given = dict(recipe) if isinstance(recipe, dict) else {"_target_": recipe}
    sections = {key: value for key, value in content.items() if key not in _OWN}
    job = {
        **{key: content.get(key) for key in ("mode", "step_func", "hf_configs")},
        **{"recipe": given.pop("_target_", None), "arguments": given, "sections": sections},
        **{"ranks": ranks, "dir": str(run_dir)},
    }
    worker = _worker()
    assert worker.stdin and worker.stdout
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    said = json.loads(worker.stdout.readline())["said"]
    how = f"{ranks} ranks over gloo" if ranks <= 2 else f"its own checks for {ranks} ranks"
    return f"Megatron-Bridge 0.3.1, {how}", said


@cache
def _worker() -> subprocess.Popen[str]:
    python = os.environ.get("BRIDGE_PYTHON", str(ROOT / ".venv-bridge" / "bin" / "python"))
    script = Path(__file__).with_name("bridge_worker.py")
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    return subprocess.Popen(
        [python, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
        cwd=ROOT,
    )
