# /// script
# requires-python = ">=3.10"
# dependencies = ["megatron-bridge==0.3.1"]
#
# [tool.runspec]
# schema = "1"
# name = "pretrain-bridge"
# docs = "Pretrain a language model with a recipe of Megatron-Bridge"
# backend = "megatron-bridge"
# code = ["bridge_lib", "pretrain_lib", "checkpoint_lib", "ft_heartbeat.py"]
# image = "nvcr.io/nvidia/nemo:26.02"
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/pretrain-bridge"
# default = "default"
# optional = ["mode", "step_func", "hf_configs"]
# short = {recipe = "_target_"}
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""Trains a language model with a recipe of Megatron-Bridge: builds its configuration, applies ours, runs its loop.

    pretrain_bridge.py --config FILE.yaml
    pretrain_bridge.py --recipe llama32_1b_pretrain_config train.train_iters=10

FILE holds, beside sections of Megatron-Bridge's ConfigContainer (train, model, dataset, checkpoint, ...):

    recipe: qwen3_8b_pretrain_config     a name in megatron.bridge.recipes, or a mapping with `_target_`: the path of a
                                         function and what it is called with. `per_split_data_args_path`, the blend.json
                                         of data preparation, becomes the data set's blend where it takes none.
    mode: pretrain                       or finetune; otherwise told from the recipe's name
    step_func: gpt_step                  or vlm_step, llava_step, or the path of a function
    hf_configs: {Qwen/Qwen3-8B: DIR}     where the Hugging Face configurations are that the recipe asks for; the content
                                         of a config.json may stand here instead of a directory

Every name and type is checked; nothing that is not understood is passed over. The script runs once a process under
torchrun. It belongs to the cluster's side: it needs Megatron-Bridge, and nothing of the launcher.

What a run leaves in the directory that LAUNCH_RUN_DIR names, unless the config says otherwise: checkpoints/,
tensorboard/, index/ (of the data), and finished.json, written by rank 0 when train.train_iters are reached, and only
then: step, max_steps, checkpoint, hf (null: see convert.py), time. Checkpoints are loaded from where they are saved,
from the newest complete one.

A run that has reached its end says `finished: step N of M; checkpoint PATH`, one that a signal ended early says
`stopped by signal at step N; checkpoint PATH`. Both exit 0. The exit code is 2, with one line on standard error, when
the configuration cannot be used; 3 when there are checkpoints and none is complete. Any other failure is
Megatron-Bridge's own.
"""

from __future__ import annotations

import sys

# The guard matters: saving a checkpoint spawns processes, and each of them imports this file again.
if __name__ == "__main__":
    from bridge_lib import command

    sys.exit(command.main(default_mode="pretrain"))
