# /// script
# requires-python = ">=3.10"
# dependencies = ["nemo-automodel==0.7.0"]
#
# [tool.runspec]
# schema = "1"
# name = "pretrain"
# docs = "Pretrain a causal language model with NeMo AutoModel"
# backend = "automodel"
# image = "nvcr.io/nvidia/nemo-automodel:26.04"
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/pretrain"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""Pretrains a causal language model with NeMo AutoModel: resolves the recipe class, sets it up and runs its loop.

    pretrain.py --config FILE.yaml

FILE is one complete AutoModel configuration. Strings like ${oc.env:NAME} and ${oc.env:NAME,default} may remain in it
for variables that exist only in the job; AutoModel's own loader resolves them. The script runs once a process under
torchrun, or alone as a single process. It belongs to the cluster's side: it needs nemo_automodel, and nothing of the
launcher.

What a run leaves in the directory that LAUNCH_RUN_DIR names (nothing, where it names none):

    finished.json   written by rank 0 when the run has reached its end, and only then: step, max_steps, checkpoint
                    (the last checkpoint's directory), hf (a directory that transformers loads, or null), time

A run that has reached its end says `finished: step N of M; checkpoint PATH`, and says so again, at once, when it is
started once more. One that a signal ended early says `stopped by signal at step N; checkpoint PATH`. Both exit 0. The
exit code is 2, with one line on standard error, when the configuration cannot be used; 3 when there are checkpoints and
none is whole. Any other failure is AutoModel's own traceback.

A run that is started again in the same checkpoint directory continues from its newest whole checkpoint, while
`checkpoint.restore_from` is not set: AutoModel does this by itself, and checkpoint_lib sees to it that damaged ones are
out of its way. Two things follow:

  - The learning rate's schedule is restored from there too. A changed `lr_scheduler` has no effect unless it also sets
    `override_opt_param_scheduler: true` and `use_checkpoint_opt_param_scheduler: false`; so a run whose max_steps is
    raised goes on at min_lr once the old `lr_decay_steps` are over.
  - training.jsonl may hold the steps after that checkpoint twice. The later record of a step counts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEFAULT_TARGET = "nemo_automodel.recipes.llm.train_ft:TrainFinetuneRecipeForNextTokenPrediction"
"""The recipe class of a configuration that names none. AutoModel 0.7.0 pretrains with it as well as it finetunes."""

RENAMED_RECIPES = {"TrainPretrainRecipeForNextTokenPrediction": "TrainFinetuneRecipeForNextTokenPrediction"}
"""Names that older guides use and 0.7.0 no longer has, with what took their place."""

LOADER_ERRORS = (AssertionError, AttributeError, ImportError, KeyError, OSError, ValueError, yaml.YAMLError)
"""What AutoModel's loader raises on a bad file: it resolves every `_target_` and every variable while it loads."""


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line that says why and what would mend it."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Pretrain a causal language model with NeMo AutoModel.")
    parser.add_argument("--config", required=True, metavar="FILE.yaml", help="one complete AutoModel configuration")
    options = parser.parse_args(argv)
    try:
        raw = read_yaml(options.config)
        if already_finished(raw):
            return 0
        put_ninja_on_path()
        recipe_class = resolve_recipe(raw)
        config = load_config(options.config)
    except ConfigError as error:
        # Every process says it: torchrun ends the others as soon as one has failed, whichever that is.
        print(f"pretrain: {error}", file=sys.stderr, flush=True)
        return 2
    from checkpoint_lib.resume import CannotResume

    try:
        train(recipe_class, config)
    except CannotResume as error:
        print(f"pretrain: {error}", file=sys.stderr, flush=True)
        return 3
    return 0


def train(recipe_class: type[Any], config: Any) -> None:
    """Sets the recipe up, runs its loop to the end, and reports how it ended."""
    import checkpoint_lib.resume
    import ft_heartbeat

    adapt_to_cpu(config)
    recipe = recipe_class(config)
    checkpoint_lib.resume.watch_over(recipe, say)
    heartbeat = ft_heartbeat.connect(recipe, say)
    recipe.setup()
    write_metrics_at_once(recipe)
    first_step = getattr(getattr(recipe, "step_scheduler", None), "step", None)
    recipe.run_train_validation_loop()
    heartbeat.close()
    report(recipe, first_step)


# The configuration


def read_yaml(path: str) -> dict[str, Any]:
    """Returns the mapping in the YAML file at `path`, as it stands; nothing in it is resolved."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the config {path} is not a YAML mapping")
    return content


def load_config(path: str) -> Any:
    """Returns the configuration as AutoModel's own loader gives it; this process's arguments have no part in it."""
    from nemo_automodel.components.config._arg_parser import parse_args_and_load_config

    try:
        # This entry point, and not load_yaml_config, because it also honours `wandb.enable`.
        return parse_args_and_load_config(argv=["--config", path])
    except LOADER_ERRORS as error:
        raise ConfigError(f"AutoModel cannot load the config {path}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Returns the error's message without line breaks, or its type's name where it has none."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


# The recipe class


def resolve_recipe(raw: Mapping[str, Any]) -> type[Any]:
    """Returns the class that `_step_recipe` names, else the one that `recipe` names, else the default.

    `_step_recipe` is "module:Class" and stays clear of AutoModel's `_target_`, which the loader would resolve by rules
    of its own. `recipe` is a bare class name of AutoModel, a dotted path, or a mapping with `_target_`.

    Raises:
        ConfigError: There is no such class, or it cannot be run.
    """
    named = raw.get("_step_recipe")
    found: Any
    if named is not None:
        found = _import(_as_text("_step_recipe", named), key="_step_recipe")
    elif raw.get("recipe") is not None:
        found = _from_recipe_key(raw["recipe"])
    else:
        found = _import(DEFAULT_TARGET, key="the default recipe")
    return _checked(found)


def _checked(found: Any) -> type[Any]:
    """Returns `found` if it is a class that can be set up and run."""
    if not isinstance(found, type):
        raise ConfigError(f"{found!r} is no recipe class: it is no class at all")
    for method in ("setup", "run_train_validation_loop"):
        if not callable(getattr(found, method, None)):
            raise ConfigError(f"{found!r} is no recipe class: it has no method {method}()")
    return found


def _from_recipe_key(value: Any) -> Any:
    """Returns what the config's `recipe` names, in any of the three forms that AutoModel's own command line takes."""
    from nemo_automodel.cli.utils import resolve_recipe_name
    from nemo_automodel.components.config.loader import ConfigNode

    if isinstance(value, Mapping):
        target = _as_text("recipe._target_", value.get("_target_"))
        try:
            # The loader resolves this `_target_` once more with the rest of the file, so it has to be its own reading.
            return ConfigNode({"_target_": target}).get("_target_")
        except LOADER_ERRORS as error:
            raise ConfigError(f"recipe._target_: {one_line(error)}") from error
    name = _renamed(_as_text("recipe", value))
    if ":" in name:
        return _import(name, key="recipe")
    try:
        dotted = resolve_recipe_name(name)
    except ValueError as error:
        raise ConfigError(f"recipe: {one_line(error)}") from error
    module, _, attribute = dotted.rpartition(".")
    return _import(f"{module}:{attribute}", key="recipe")


def _renamed(name: str) -> str:
    """Returns the name under which this release has the recipe class, and says so where it is another."""
    bare = name.replace(":", ".").rpartition(".")[2]
    current = RENAMED_RECIPES.get(bare)
    if current is None:
        return name
    say(f"recipe {bare} is called {current} in AutoModel 0.7.0; taking that")
    return current


def _as_text(key: str, value: Any) -> str:
    """Returns `value` if it is a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} must name a recipe class, not {value!r}")
    return value.strip()


def _import(target: str, *, key: str) -> Any:
    """Returns the attribute that "module:Class" names."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f'{key}: "{target}" is not of the form "module:Class"')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{key}: cannot import {module_name}: {one_line(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(f"{key}: module {module_name} has no class {attribute}") from error


# The surroundings


def put_ninja_on_path() -> None:
    """Lets AutoModel's index builder find the `ninja` that was installed beside this Python.

    MegatronPretraining compiles its helper with torch's load_inline, which wants the command `ninja` on PATH; in a
    virtual environment that is used without being activated it is not.
    """
    beside = str(Path(sys.executable).parent)
    if shutil.which("ninja") is None and shutil.which("ninja", path=beside):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])


def adapt_to_cpu(config: Any) -> None:
    """Lets AutoModel run without CUDA, and says on rank 0 what that took; does nothing with CUDA."""
    import cpu_adapter

    done = cpu_adapter.apply(config)
    if done:
        say("no CUDA: running on the CPU; " + "; ".join(done))


def write_metrics_at_once(recipe: Any) -> None:
    """Has training.jsonl and validation.jsonl written record by record.

    AutoModel collects 100 records before it writes any, so that a killed run loses them and nobody can follow one.
    The loggers hold nothing yet: set-up has just made them. A recipe class without them is left as it is.
    """
    from nemo_automodel.components.loggers.metric_logger import MetricLogger, build_metric_logger

    def at_once(logger: MetricLogger) -> MetricLogger:
        logger.close()
        return build_metric_logger(logger.filepath, flush=True, buffer_size=1)

    train_logger = getattr(recipe, "metric_logger_train", None)
    if isinstance(train_logger, MetricLogger):
        recipe.metric_logger_train = at_once(train_logger)
    valid_loggers = getattr(recipe, "metric_logger_valid", None)
    if isinstance(valid_loggers, dict):
        recipe.metric_logger_valid = {name: at_once(logger) for name, logger in valid_loggers.items()}


def is_main() -> bool:
    """Tells whether this is rank 0, before and after torch.distributed has been set up."""
    return int(os.environ.get("RANK", "0")) == 0


def say(message: str) -> None:
    """Prints one line on standard output, on rank 0 only."""
    if is_main():
        print(message, flush=True)


# The end


def report(recipe: Any, first_step: int | None) -> None:
    """Says how the loop ended, and writes finished.json where the run has reached its end.

    AutoModel returns from its loop in the same way in both cases. A run that a signal ended has `sigterm_flag` set and
    steps left to do; one whose last step was reached while the signal came is finished all the same.
    """
    scheduler = getattr(recipe, "step_scheduler", None)
    if scheduler is None:
        say(f"{type(recipe).__name__} has no step_scheduler: it is not known whether the run has reached its end")
        return
    checkpoint = last_checkpoint(recipe)
    if scheduler.sigterm_flag and scheduler.step < scheduler.max_steps:
        say(f"stopped by signal at step {scheduler.step}; checkpoint {checkpoint}")
        return
    if scheduler.step == first_step:
        say("nothing left to do: this run has reached its end before")
    write_finished(scheduler.step, scheduler.max_steps, checkpoint)


def last_checkpoint(recipe: Any) -> str | None:
    """Returns the absolute path of the newest whole checkpoint, or None.

    That is CHECKPOINT_DIR/epoch_E_step_S, where S counts from 0: a run of 150 steps ends with step_149.
    """
    from nemo_automodel.components.checkpoint.utils import find_latest_checkpoint

    checkpointer = getattr(recipe, "checkpointer", None)
    if checkpointer is None or not checkpointer.config.enabled:
        return None
    found = find_latest_checkpoint(checkpointer.config.checkpoint_dir)
    return None if found is None else str(Path(found).resolve())


def hf_directory(checkpoint: str | None) -> str | None:
    """Returns the directory inside `checkpoint` that transformers loads, or None where it was not exported."""
    if checkpoint is None:
        return None
    directory = Path(checkpoint, "model", "consolidated")
    whole = (directory / "config.json").is_file() and any(directory.glob("*.safetensors"))
    return str(directory) if whole else None


def finished_file() -> Path | None:
    """Returns where finished.json of this run is, or None where the launcher has named no run directory."""
    run_dir = os.environ.get("LAUNCH_RUN_DIR")
    return Path(run_dir, "finished.json") if run_dir else None


def write_finished(step: int, max_steps: int, checkpoint: str | None) -> None:
    """Says that the run has reached its end and, on rank 0, records it."""
    path = finished_file()
    if path is not None and is_main():
        record = {
            "step": step,
            "max_steps": max_steps,
            "checkpoint": checkpoint,
            "hf": hf_directory(checkpoint),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_atomically(path, json.dumps(record, indent=2) + "\n")
    say(f"finished: step {step} of {max_steps}; checkpoint {checkpoint}")


def write_atomically(path: Path, text: str) -> None:
    """Writes the file so that a reader sees the old content or the new, and never a part of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def already_finished(raw: Mapping[str, Any]) -> bool:
    """Tells whether finished.json says that the run in `raw` has reached its end, before anything slow is imported.

    Only a run whose length is `step_scheduler.max_steps` is recognised here. One that is counted in epochs, or has been
    made longer, goes the long way: it is set up, resumes from its last checkpoint, and does what is left.
    """
    path = finished_file()
    scheduler = raw.get("step_scheduler")
    wanted = scheduler.get("max_steps") if isinstance(scheduler, Mapping) else None
    if path is None or not isinstance(wanted, int) or not path.is_file():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    checkpoint = record["checkpoint"]
    if record["step"] < wanted or (checkpoint is not None and not Path(checkpoint).is_dir()):
        return False
    say("nothing left to do: this run has reached its end before")
    say(f"finished: step {record['step']} of {record['max_steps']}; checkpoint {checkpoint}")
    return True


# The guard matters: DataLoader workers are spawned, and each of them imports this file again.
if __name__ == "__main__":
    sys.exit(main())
