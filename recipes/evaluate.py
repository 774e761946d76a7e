# /// script
# requires-python = ">=3.10"
# dependencies = ["nemo-automodel==0.7.0"]
#
# [tool.runspec]
# schema = "1"
# name = "evaluate"
# docs = "Loss and perplexity of a checkpoint on held-out data, with NeMo AutoModel"
# backend = "automodel"
# code = ["pretrain_lib", "checkpoint_lib", "cpu_adapter.py"]
# image = "nvcr.io/nvidia/nemo-automodel:26.04"
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/evaluate"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""Loss and perplexity of a model on held-out data: AutoModel's own set-up and validation, without a training step.

    evaluate.py --config FILE.yaml

FILE is an AutoModel configuration. What is evaluated are the weights of the checkpoint that `checkpoint.restore_from`
names (a directory of AutoModel's, sharded as it is; its optimizer is not read) or, without one, those that `model`
loads. The held-out data are every section whose name begins with `validation_dataset`, read to their end. `launch.py
evaluate RUN` makes such a file of a run's own.

The result is told in AutoModel's own form, and written to RUN_DIR/evaluation.json and, of a checkpoint, into
`evaluations/` beside it, where `checkpoints RUN` finds it. Exit codes are those of pretrain.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import contract
from pretrain_lib import data_helper, index_files, loading, phase
from pretrain_lib.adaptations import adapt_to_cpu, compute_in_autocast
from pretrain_lib.config import ConfigError
from pretrain_lib.evaluation import hold_out, load_weights_only, record, sections
from pretrain_lib.finished import write_finished
from pretrain_lib.loading import Loaded


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    what = "Loss and perplexity of a checkpoint on held-out data."
    return loading.main("evaluate", what, argv, evaluate, judge=_require_data)


def _require_data(raw: dict[str, Any]) -> None:
    if not sections(raw):
        raise ConfigError("the configuration has no section validation_dataset: there is nothing to evaluate on")


def evaluate(loaded: Loaded) -> None:
    """Set the recipe up, load the weights, read the held-out data, and say what came out."""
    recipe_class, config = loaded.recipe_class, loaded.config
    if not callable(getattr(recipe_class, "_run_validation_epoch", None)):
        raise ConfigError(f"{recipe_class.__name__} has no validation of AutoModel's form")
    adapt_to_cpu(config)
    data_helper.install()
    index_files.install()
    phase.enter("building the model and opening the data")
    recipe = recipe_class(config)
    named = config.get("checkpoint.restore_from", None)
    checkpoint = Path(str(named)) if named else None
    load_weights_only(recipe, checkpoint)
    phase.tell_of(recipe)
    recipe.setup()
    compute_in_autocast(recipe)
    step = contract.checkpoint_step(checkpoint.name) if checkpoint else None
    record(hold_out(recipe, loaded.raw, step or 0), checkpoint, step)
    write_finished(1, 1, None)


# The guard matters: each of the DataLoader's workers imports this file again.
if __name__ == "__main__":
    sys.exit(main())
