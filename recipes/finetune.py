# /// script
# requires-python = ">=3.10"
# dependencies = ["nemo-automodel==0.7.0"]
#
# [tool.runspec]
# schema = "1"
# name = "finetune"
# docs = "Finetune a causal language model on conversations with NeMo AutoModel"
# backend = "automodel"
# code = ["pretrain.py", "pretrain_lib", "checkpoint_lib", "cpu_adapter.py", "ft_heartbeat.py"]
# image = "nvcr.io/nvidia/nemo-automodel:26.04"
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/finetune"
# default = "tiny"
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 8
# ///
"""Finetunes a causal language model with NeMo AutoModel, whose recipe class is the one that pretrains.

    finetune.py --config FILE.yaml

Everything is as pretrain.py describes it; the data are conversations in place of tokens, and the configs are others.
"""

from __future__ import annotations

import sys

import pretrain

# The guard matters: each of the DataLoader's workers imports this file again.
if __name__ == "__main__":
    sys.exit(pretrain.main())
