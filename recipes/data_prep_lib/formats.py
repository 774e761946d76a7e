"""What the two output formats ask of a configuration, beyond the keys that they share.

nanogpt: each document begins with the tokenizer's BOS, and with EOS where it names no BOS (GPT-2's and Qwen's
<|endoftext|>), as AutoModel's nanogpt_data_processor.py and nanoGPT do: .bos.idx and `align_to_bos` need such a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_prep_lib import schema
from data_prep_lib.errors import ConfigError, InputError
from data_prep_lib.vocab import TokenizerFiles

FORMATS = ("megatron", "nanogpt")


def settle(values: dict[str, Any], weights: Sequence[tuple[str, float]]) -> None:
    """Fill in the defaults of `format`, and refuse what it cannot do. `weights`: (dataset, weight)."""
    nanogpt = values.setdefault("format", "megatron") == "nanogpt"
    values.setdefault("add_bos", nanogpt)
    values.setdefault("add_eos", not nanogpt)
    if not nanogpt:
        if values.get("ranks") is not None:
            raise schema.bad(
                "ranks", values["ranks"], "null with format: megatron, whose shards any number of ranks reads"
            )
        return
    if not values["add_bos"]:
        raise ConfigError(
            "add_bos: false is not valid with format: nanogpt\n"
            "  set it to true or leave it out: .bos.idx and align_to_bos need a token at each document's start"
        )
    for name, weight in weights:
        if weight != 1 and values.get("max_tokens") is None:  # which weights share out
            raise ConfigError(
                f"datasets: weight {weight:g} of {name!r} is not valid with format: nanogpt: each file is read once an "
                "epoch\n  leave weights out (a source then counts by its tokens); for more of a source list it "
                "twice under two names, or set max_tokens, which weights share out; or use format: megatron"
            )


def document_start(files: TokenizerFiles, add_eos: bool) -> TokenizerFiles:
    """The tokenizer for nanogpt, its EOS standing in for a BOS that it does not name."""
    files = files if files.bos_token else replace(files, bos_token=files.eos_token)
    if add_eos and files.bos_token == files.eos_token:
        raise InputError(
            f"add_eos: tokenizer {files.name} has {files.eos_token!r} for BOS and for EOS; a document's end would look "
            "like a document's start\n  leave add_eos out: the next document's first token ends the one before"
        )
    return files
