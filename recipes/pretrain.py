# /// script
# requires-python = ">=3.10"
# dependencies = ["nemo-automodel==0.7.0"]
#
# [tool.runspec]
# schema = "1"
# name = "pretrain"
# docs = "Pretrain a causal language model with NeMo AutoModel"
# backend = "automodel"
# code = ["pretrain_lib", "checkpoint_lib", "cpu_adapter.py", "ft_heartbeat.py"]
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
none is complete. Any other failure is AutoModel's own traceback.

A run that is started again in the same checkpoint directory continues from its newest complete checkpoint, while
`checkpoint.restore_from` is not set: AutoModel does this by itself, and checkpoint_lib sees to it that damaged ones are
out of its way. Two things follow:

  - The learning rate's schedule is restored from there too. A changed `lr_scheduler` has no effect unless it also sets
    `override_opt_param_scheduler: true` and `use_checkpoint_opt_param_scheduler: false`; so a run whose max_steps is
    raised goes on at min_lr once the old `lr_decay_steps` are over.
  - training.jsonl may hold the steps after that checkpoint twice. The later record of a step counts.
"""

from __future__ import annotations

import sys

from pretrain_lib import data_helper, index_files, loading, phase, requests
from pretrain_lib.adaptations import adapt_to_cpu, compute_in_autocast, write_metrics_at_once
from pretrain_lib.finished import report
from pretrain_lib.loading import Loaded
from pretrain_lib.output import say


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return loading.main("pretrain", "Pretrain a causal language model with NeMo AutoModel.", argv, train)


def train(loaded: Loaded) -> None:
    """Sets the recipe up, runs its loop to the end, and reports how it ended."""
    import checkpoint_lib.resume
    import ft_heartbeat

    adapt_to_cpu(loaded.config)
    data_helper.install()
    index_files.install()
    phase.enter("building the model and opening the data")
    recipe = loaded.recipe_class(loaded.config)
    checkpoint_lib.resume.watch_over(recipe, say)
    phase.tell_of(recipe)
    heartbeat = ft_heartbeat.connect(recipe, say)
    recipe.setup()
    compute_in_autocast(recipe)
    write_metrics_at_once(recipe)
    profiles = requests.hear(recipe)
    first_step = getattr(getattr(recipe, "step_scheduler", None), "step", None)
    phase.enter(phase.FIRST_STEP)
    recipe.run_train_validation_loop()
    if profiles is not None:
        profiles.close()
    phase.enter("ending")
    heartbeat.close()
    report(recipe, first_step)


# The guard matters: each of the DataLoader's workers imports this file again.
if __name__ == "__main__":
    sys.exit(main())
