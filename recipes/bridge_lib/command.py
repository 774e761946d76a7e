"""The command line of pretrain_bridge.py and finetune_bridge.py."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import contract
from pretrain_lib import phase
from pretrain_lib.config import ConfigError, read_yaml
from pretrain_lib.output import say
from pretrain_lib.trackers import keep_secrets_from_mlflow, keep_secrets_from_wandb

from . import order as order_
from .order import MODES, Order


def main(argv: list[str] | None = None, default_mode: str = MODES[0]) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_intermixed_args(argv)
    try:
        order = _order(options, default_mode)
        from . import end

        if end.already_finished(order.sections):
            return 0
        phase.enter("importing Megatron-Bridge and building the configuration")
        raw = read_yaml(options.config) if options.config else {}
        config, step_function = _prepare(order, raw)
        _keep_secrets(config.logger, raw)
    except ConfigError as error:
        # Every process says it: torchrun ends the others as soon as one has failed, whichever that is.
        print(f"{order_name(default_mode)}: {error}", file=sys.stderr, flush=True)
        return contract.CANNOT_BE_USED
    from . import training

    try:
        return training.run(config, step_function)
    except training.CannotResume as error:
        print(f"{order_name(default_mode)}: {error}", file=sys.stderr, flush=True)
        return contract.NO_CHECKPOINT


def _keep_secrets(logger: Any, raw: dict[str, Any]) -> None:
    """From the trackers that the configuration has."""
    if logger.wandb_project:
        keep_secrets_from_wandb(raw)
    if logger.mlflow_experiment:
        keep_secrets_from_mlflow(raw)


def order_name(mode: str) -> str:
    """The script, as its messages begin."""
    return f"{mode}-bridge"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a language model with a recipe of Megatron-Bridge.")
    parser.add_argument("--config", metavar="FILE.yaml", help="recipe, mode, step_func, hf_configs and sections")
    parser.add_argument("--recipe", metavar="NAME", help="instead of the file's `recipe`: a name or a dotted path")
    parser.add_argument("--mode", choices=MODES, help="instead of the file's; otherwise told from the recipe's name")
    parser.add_argument("--step_func", metavar="NAME", help="gpt_step, vlm_step, llava_step or a dotted path")
    parser.add_argument("settings", nargs="*", metavar="SECTION.FIELD=VALUE", help="on top of the file")
    return parser


def _order(options: argparse.Namespace, default_mode: str) -> Order:
    if options.config is None and options.recipe is None:
        raise ConfigError("what to train? --config FILE.yaml or --recipe NAME")
    config = order_.read(options.config, options.settings)
    given: dict[str, Any] = {"mode": options.mode, "step_func": options.step_func}
    config.update({key: value for key, value in given.items() if value is not None})
    if options.recipe is not None:
        written = config.get("recipe")
        config["recipe"] = {**written, "_target_": options.recipe} if isinstance(written, dict) else options.recipe
    return order_.take_apart(config, default_mode)


def _prepare(order: Order, raw: dict[str, Any]) -> tuple[Any, Any]:
    """The ConfigContainer, which is written as `raw` has it, and the function that computes a step."""
    from . import stand_ins

    replaced = stand_ins.import_megatron()
    if replaced:
        say("not installed, and not needed on a CPU: " + ", ".join(replaced))
    from . import adaptations, container, cpu, recipe, written

    cpu.apply()
    adaptations.keep_compiled_helpers()
    config = container.build(order)
    written.keep_secrets(config, raw)
    return config, recipe.step_function(order.step_func)
