# /// script
# requires-python = ">=3.10"
# dependencies = ["megatron-bridge==0.3.1"]
#
# [tool.runspec]
# schema = "1"
# name = "finetune-bridge"
# docs = "Fine-tune a language model with a recipe of Megatron-Bridge"
# backend = "megatron-bridge"
# code = ["bridge_lib", "pretrain_lib", "checkpoint_lib", "ft_heartbeat.py"]
# image = "nvcr.io/nvidia/nemo:26.02"
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/finetune-bridge"
# default = "default"
# optional = ["mode", "step_func", "hf_configs"]
# short = {recipe = "_target_"}
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""As pretrain_bridge.py, for recipes that fine-tune (sft, peft, finetune): they begin with the weights that
`checkpoint.pretrained_checkpoint` names, in Megatron's format (convert.py makes it from Hugging Face's).

    finetune_bridge.py --config FILE.yaml
    finetune_bridge.py --recipe llama32_1b_sft_config checkpoint.pretrained_checkpoint=DIR
"""

from __future__ import annotations

import sys

# The guard matters: saving a checkpoint spawns processes, and each of them imports this file again.
if __name__ == "__main__":
    from bridge_lib import command

    sys.exit(command.main(default_mode="finetune"))
