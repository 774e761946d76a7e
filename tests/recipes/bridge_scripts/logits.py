"""Logits of one batch: from an iter_N directory of Megatron's, and from a directory that transformers loads.

logits.py ITER_DIR HF_DIR -> one line of JSON: the largest difference, the largest logit, the shape.
"""

from __future__ import annotations

import json
import sys

from bridge_lib import cpu, stand_ins

stand_ins.import_megatron()
cpu.apply()

import torch  # noqa: E402
from megatron.bridge.training.model_load_save import load_megatron_model, temporary_distributed_context  # noqa: E402
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402


def main(checkpoint: str, directory: str) -> None:
    """Print the comparison."""
    theirs = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32).eval()
    tokens = torch.arange(2 * 24).remainder(256).reshape(2, 24)
    positions = torch.arange(24).expand(2, 24)
    mask = torch.ones(24, 24, dtype=torch.bool).triu(1).expand(2, 1, 24, 24)
    with temporary_distributed_context(backend="gloo"), torch.no_grad():
        model_parallel_cuda_manual_seed(0)
        own = load_megatron_model(checkpoint, use_cpu_init=True, skip_temp_dist_context=True)
        own = own[0] if isinstance(own, list) else own
        ours = own.eval()(tokens, positions, mask)
        expected = theirs(tokens).logits
    width = expected.shape[-1]  # Megatron's vocabulary is padded
    difference = (ours.float()[..., :width] - expected).abs().max().item()
    largest = expected.abs().max().item()
    print(json.dumps([difference, largest, list(expected.shape)]))


main(*sys.argv[1:])
