"""Tries configs on Megatron-Bridge, one JSON line after the other, for real_bridge.py. Run by the Python that has it.

What is taken from recipes/bridge_lib is what no machine without GPUs can do without: the imports, the CPU, the model's
Hugging Face config. The config is applied by Megatron-Bridge itself (process_config_with_overrides), as its
scripts/training/run_recipe.py does.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from tests.faults import ranks  # noqa: E402  # needs the path

LIMIT_S = 150
_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?([A-Za-z_.]*(?:Error|Exception|Exit)(?::.*)?)$", re.M)
_NOT_IT = ("ChildFailedError", "third_party/gloo", "Connection closed by peer")  # what the other ranks say
_STEP = re.compile(r"iteration\s+(\d+)/\s*\d+ \|.*?lm loss: (\S+)", re.S)
_PASSED = re.compile(r"Key '[^']+' in overrides not found[^\n]*|Could not [^\n]*|Failed to instantiate[^\n]*")


def main() -> None:
    """Answer each line of standard input with a line {"said": ...}."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from bridge_lib import stand_ins

    stand_ins.import_megatron()
    import megatron.bridge.training.finetune
    import megatron.bridge.training.gpt_step
    import megatron.bridge.training.utils.omegaconf_utils  # noqa: F401  # imported once, before the forks

    for line in sys.stdin:
        job = json.loads(line)
        code, output = _checked(job) if job["ranks"] > 2 else _trained(job)
        answers.write(json.dumps({"said": _outcome(job, code, output)}) + "\n")
        answers.flush()


def _checked(job: dict[str, Any]) -> tuple[int | None, str]:
    return ranks.run(lambda: _check(job), job["dir"], [{}], LIMIT_S)


def _trained(job: dict[str, Any]) -> tuple[int | None, str]:
    return ranks.run(lambda: _train(job), job["dir"], ranks.environs(job["ranks"]), LIMIT_S)


def _config(job: dict[str, Any], cpu: bool) -> Any:
    """The ConfigContainer, as Megatron-Bridge makes it of what the job says."""
    import yaml
    from bridge_lib import hf_configs
    from megatron.bridge.recipes.utils.dataset_utils import get_blend_fields_from_data_paths
    from megatron.bridge.training.utils.omegaconf_utils import process_config_with_overrides

    hf_configs.install(job["hf_configs"] or {})
    arguments = dict(job["arguments"])
    blend = arguments.pop("per_split_data_args_path", None)
    module, _, name = job["recipe"].rpartition(".")
    config = getattr(importlib.import_module(module or "megatron.bridge.recipes"), name)(**arguments)
    if blend is not None:
        blend, data = _with_test(job, blend), config.dataset
        data.blend, data.blend_per_split, data.split = get_blend_fields_from_data_paths(per_split_data_args_path=blend)
    if cpu:
        from bridge_lib import cpu as cpu_

        cpu_.adapt(config)
    path = Path(job["dir"], f"sections-{os.getpid()}.yaml")
    path.write_text(yaml.safe_dump(job["sections"]))
    given = job["sections"].get("model") or {}
    config = process_config_with_overrides(config, config_filepath=str(path))
    data = job["sections"].get("dataset") or {}
    if isinstance(given, dict) and "seq_length" in given and not {"seq_length", "sequence_length"} & set(data):
        config.dataset.seq_length = config.model.seq_length
    return config


def _with_test(job: dict[str, Any], path: str) -> str:
    """A blend.json without `test` ends in a KeyError; every launch would, and what is wrong with it not be seen."""
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return path
    if not isinstance(content, dict) or "test" in content:
        return path
    copy = Path(job["dir"], f"blend-{os.getpid()}.json")
    copy.write_text(json.dumps({**content, "test": None}))
    return str(copy)


def _train(job: dict[str, Any]) -> None:
    from bridge_lib import adaptations, cpu, recipe
    from megatron.bridge.training.finetune import finetune
    from megatron.bridge.training.pretrain import pretrain

    cpu.apply()
    adaptations.keep_compiled_helpers()
    config = _config(job, cpu=True)
    mode = job["mode"] or ("pretrain" if "pretrain" in job["recipe"] else "finetune")
    run = {"pretrain": pretrain, "finetune": finetune}[mode]
    run(config=config, forward_step_func=recipe.step_function(job["step_func"] or "gpt_step"))


def _check(job: dict[str, Any]) -> None:
    """What Megatron-Bridge checks before anything else, as if there were so many ranks; no GPU, so nothing follows."""
    from unittest import mock

    import megatron.bridge.training.config as config_
    import torch
    from megatron.core.num_microbatches_calculator import init_num_microbatches_calculator

    hopper = mock.Mock(major=9, minor=0)
    hopper.name = "NVIDIA H100 80GB HBM3"
    torch.cuda.get_device_properties = lambda *_: hopper
    config_.get_world_size_safe = lambda: job["ranks"]  # there is one process only
    config = _config(job, cpu=False)
    config_.runtime_config_update(config)
    train = config.train
    init_num_microbatches_calculator(
        0, train.rampup_batch_size, train.global_batch_size, train.micro_batch_size, config.data_parallel_size
    )


def _complete(found: re.Match[str], output: str) -> str:
    """An error without a message on its line: with the next line, or with the line of source that raised it."""
    text, after = found[1].strip(), output[found.end() :].strip()
    if text.endswith(":"):
        return f"{text} {after.splitlines()[0].strip() if after else ''}"
    before = [line.strip() for line in output[: found.start()].splitlines() if line.strip(" ^~")]
    return text if ":" in text else f"{text} ({before[-1]})"


def _outcome(job: dict[str, Any], code: int | None, output: str) -> str:
    steps = {int(number): loss for number, loss in _STEP.findall(output)}
    done = f"after step {max(steps)}" if steps else "before the first step"
    passed = " ".join(dict.fromkeys(_PASSED.findall(output)))
    if code == 0 and job["ranks"] > 2:
        return f"silence: nothing is said against it {passed}".strip()
    if code == 0:
        return f"silence: {len(steps)} steps, last loss {steps[max(steps)] if steps else '-'}, exit 0 {passed}".strip()
    found = [one for one in _ERROR.finditer(output) if not any(other in one[1] for other in _NOT_IT)]
    last = _complete(found[-1], output) if found else (output.strip().splitlines() or [""])[-1]
    if code is None:
        return f"hangs {done}; ended after {LIMIT_S} s"
    return f"{last} ({done}, exit {code})"


if __name__ == "__main__":
    main()
