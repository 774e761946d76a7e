"""Tokenizers that cannot be seen from here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import result

if TYPE_CHECKING:
    from ..stages import Run

_BYTES = 256


def apply(run: Run) -> None:
    """Have one of bytes stand in for a tokenizer of the Hub, or of a directory that is not on this machine."""
    # AutoModel 0.7.0, train_ft.py:398: it is loaded after the model, and everything behind it would go untried.
    from nemo_automodel._transformers.auto_tokenizer import NeMoAutoTokenizer

    original = NeMoAutoTokenizer.from_pretrained.__func__

    def from_pretrained(cls: Any, pretrained_model_name_or_path: Any = None, *args: Any, **kwargs: Any) -> Any:
        name = pretrained_model_name_or_path
        if not isinstance(name, (str, os.PathLike)) or Path(name).exists():
            return original(cls, name, *args, **kwargs)
        try:
            return original(cls, name, *args, **kwargs)
        except (OSError, ValueError):
            reason = result.SYNTHETIC_DATA if os.path.isabs(name) else result.HUB  # noqa: PTH117
            text = f"the tokenizer {os.fspath(name)} cannot be seen from here; one of bytes stood in for it"
            run.notes.append(result.partial(reason, text))
            return stand_in()

    NeMoAutoTokenizer.from_pretrained = classmethod(from_pretrained)


def stand_in() -> Any:
    """A tokenizer of bytes with an end-of-text token, which is its padding, too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(["<end>", *alphabet])}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
