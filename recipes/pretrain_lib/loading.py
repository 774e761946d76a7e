"""What pretrain.py and evaluate.py have in common: from the command line to a recipe class with its configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import contract
from checkpoint_lib.resume import CannotResume

from . import collector, loader_workers, phase
from .adaptations import put_ninja_on_path
from .config import ConfigError, load_config, read_yaml
from .finished import already_finished
from .recipe_class import resolve_recipe
from .trackers import keep_secrets_from_files, keep_secrets_from_trackers


@dataclass(frozen=True)
class Loaded:
    """A configuration: `raw` as it is written, `config` as AutoModel's own loader gives it, and its recipe class."""

    raw: dict[str, Any]
    recipe_class: type[Any]
    config: Any


def main(
    name: str,
    description: str,
    argv: list[str] | None,
    work: Callable[[Loaded], None],
    judge: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Run a script `name` with `--config FILE.yaml`; returns the exit code. No tracker is told a secret's value.

    `judge` looks at the raw configuration before AutoModel is imported; it and `work` may raise ConfigError.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, metavar="FILE.yaml", help="one complete AutoModel configuration")
    path = parser.parse_args(argv).config
    try:
        raw = read_yaml(path)
        if already_finished(raw):
            return 0
        if judge is not None:
            judge(raw)
        phase.enter("importing AutoModel and loading the configuration")
        put_ninja_on_path()
        with collector.off():
            loaded = Loaded(raw, resolve_recipe(raw), load_config(path))
        keep_secrets_from_trackers(raw)
        keep_secrets_from_files(loaded.config, raw)
        loader_workers.prepare(loaded.config)
        work(loaded)
    except (ConfigError, CannotResume) as error:
        # Every process says it: torchrun ends the others as soon as one has failed, whichever that is.
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return contract.CANNOT_BE_USED if isinstance(error, ConfigError) else contract.NO_CHECKPOINT
    return 0
