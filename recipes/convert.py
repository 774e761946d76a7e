# /// script
# requires-python = ">=3.10"
# dependencies = ["megatron-bridge==0.3.1"]
#
# [tool.runspec]
# schema = "1"
# name = "convert"
# docs = "Convert weights between Hugging Face's and Megatron's formats"
# backend = "conversion"
# code = ["bridge_lib", "pretrain_lib", "checkpoint_lib", "ft_heartbeat.py"]
# image = "nvcr.io/nvidia/nemo:26.02"
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/convert"
# default = "megatron-to-hf"
# word = true
# optional = ["hf", "step", "dtype", "trust_remote_code"]
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Converts weights between Hugging Face's and Megatron's formats, with Megatron-Bridge's AutoBridge, in one process.

    convert.py --config FILE.yaml

FILE holds

    direction: megatron-to-hf    or hf-to-megatron
    source: DIR                  a run's checkpoints or one iter_N of them; a directory of Hugging Face's, or a hub id
    output: DIR                  written whole or not at all; a complete one there is left alone
    step: 1000                   of megatron-to-hf: iterations of the checkpoint; the newest complete one without it
    hf: DIR                      of megatron-to-hf: config.json and tokenizer of the model, a hub id, or the content of
                                 a config.json; without it what pretrain_bridge.py has left beside the checkpoints
    dtype: bfloat16              of the weights that are written; as in the source without it

No weights of Hugging Face's are needed for megatron-to-hf, and no GPU. The whole model has to fit into memory. The exit
code is 2, with one line on standard error, when something of this cannot be used; 3 when no checkpoint is complete.
"""

from __future__ import annotations

import sys

# The guard matters: saving a checkpoint spawns processes, and each of them imports this file again.
if __name__ == "__main__":
    from bridge_lib import convert_command

    sys.exit(convert_command.main())
