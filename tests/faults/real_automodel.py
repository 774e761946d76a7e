"""A launch tried on AutoModel itself: recipes/pretrain.py over gloo, for try_real.py."""

from __future__ import annotations

import importlib
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from automodel_launch.config import overrides, yamlio
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults import ranks as ranks_
from tests.faults.launches import ROOT, Launch, Stage

LIMIT_S = 100
_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?(pretrain: .*|[A-Za-z_.]*(?:Error|Exception)(?::.*)?)$", re.M)
_NOT_IT = ("ChildFailedError", "DistNetworkError", "RuntimeError: DataLoader worker")


def try_automodel(launch: Launch, stage: Stage) -> tuple[str, str]:
    """Train as the launch says, on this machine's CPU."""
    ranks = launch.ranks or 2
    run_dir = stage.here / "run"
    run_dir.mkdir()
    with launches.shell(launch, stage):
        try:
            content: Any = launches.plan(launch, stage).config
        except LaunchError:
            content = composed(launch, stage)
        (run_dir / "config.yaml").write_text(yamlio.dump(content))
        code, output = _train(run_dir, ranks, stage.here if "code" in launch.keys else run_dir)
    return f"AutoModel 0.7.0, {ranks} ranks over gloo", _outcome(code, output)


def _train(run_dir: Path, ranks: int, cwd: Path) -> tuple[int | None, str]:
    """(exit code, output); the code is None where it ran past the limit.

    The ranks are forks of a process that has imported AutoModel once; torchrun would add nothing but 15 s of imports.
    """
    pretrain, config = _recipe(), str(run_dir / "config.yaml")
    each = [{**environ, "LAUNCH_RUN_DIR": str(run_dir)} for environ in ranks_.environs(ranks)]
    code, output = ranks_.run(lambda: pretrain.main(["--config", config]), cwd, each, LIMIT_S)
    return code, output.replace("\r", "\n")


@cache
def _recipe() -> Any:
    """recipes/pretrain.py, with what it imports late."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    sys.path.insert(0, str(ROOT / "recipes"))
    with importlib.import_module("pretrain_lib.collector").off():
        for name in ("nemo_automodel.recipes.llm.train_ft", "nemo_automodel.components.datasets.llm.megatron_dataset"):
            importlib.import_module(name)
    return importlib.import_module("pretrain")


def _outcome(code: int | None, output: str) -> str:
    steps = [int(number) for number in re.findall(r"\bstep (\d+) \| epoch", output)]
    done = f"after step {steps[-1]}" if steps else "before the first step"
    ignored = [line for line in output.splitlines() if "unknown" in line.lower() and "WARN" in line]
    if code == 0:
        loss = re.findall(r"\| loss (\S+)", output)
        return f"silence: {len(set(steps))} steps, last loss {loss[-1] if loss else '-'}, exit 0 {' '.join(ignored)}"
    errors = [text for text in _ERROR.findall(output) if not any(name in text for name in _NOT_IT)]
    last = errors[0] if errors else (output.strip().splitlines() or [""])[-1]
    if code is None:
        return f"hangs {done}; ended after {LIMIT_S} s {last if errors else ''}"
    return f"{last} ({done}, exit {code})"


def composed(launch: Launch, stage: Stage) -> Any:
    """The config with its overrides, less `run`, and without any look at what it says."""
    from omegaconf import OmegaConf

    path = Path(launches.config(launch, stage))
    path = path if path.suffix else ROOT / "configs" / launch.recipe / f"{path.name}.yaml"
    merged = _layered(path)
    for text in launch.overrides:
        override = overrides.parse(stage.text(text))
        if not override.key.startswith("run."):
            OmegaConf.update(merged, override.key, override.value)
    run = {"dir": str(stage.here / "run"), "name": "run", "data_dir": str(stage.data)}
    merged = OmegaConf.merge(merged, {"run": run})
    # AutoModel's loader reads ${oc.env:NAME} itself
    text = OmegaConf.to_yaml(merged).replace("${oc.env:", "$@{").replace("${art:", "$@art{")
    resolved = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    content = yaml.safe_load(yaml.safe_dump(resolved).replace("$@{", "${oc.env:").replace("$@art{", "${art:"))
    del content["run"]
    return content


def _layered(path: Path) -> Any:
    from omegaconf import OmegaConf

    content = yaml.safe_load(path.read_text())  # as AutoModel reads it: of a key given twice the last
    below = [_layered((path.parent / name).with_suffix(".yaml")) for name in content.pop("defaults", None) or ()]
    return OmegaConf.merge(*below, OmegaConf.create(content))
