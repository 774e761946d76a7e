"""The token that separates documents, as a person should see it before the work: some copies name a chat turn's end."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep_lib import findings
from data_prep_lib.config import Config
from data_prep_lib.findings import Finding
from data_prep_lib.vocab import TokenizerFiles, Vocab

# What ends a document in pretraining, in the order of likelihood, and what ends a turn of a chat.
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<|endofdocument|>", "[EOS]")
_TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<turn|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|im_sep|>", "<|eot|>")


def finding(config: Config, files: TokenizerFiles, vocab: Vocab) -> Iterator[Finding]:
    """A note on BOS and EOS; a warning where EOS is a chat turn's end and the vocabulary has a document's end."""
    said = line(config, files, vocab)
    better = turns_end(files, vocab) if config.add_eos and config.eos_token is None else None
    if better:
        text = f"{said}. tokenizer_config.json names the end of a chat's turn; pretraining ended documents otherwise"
        yield findings.finding("warning", "data-prep-separator", text, f"eos_token={better!r}")
    else:
        yield findings.finding("note", "data-prep-separator", said)


def line(config: Config, files: TokenizerFiles, vocab: Vocab) -> str:
    """What begins and ends each document."""
    parts = []
    if config.add_bos:
        parts.append(f"begins with {files.bos_token!r} (id {vocab.bos_id})")
    if config.add_eos:
        parts.append(f"ends with {files.eos_token!r} (id {vocab.eos_id})")
    return f"each document {' and '.join(parts) or 'stands without BOS and EOS'}"


def turns_end(files: TokenizerFiles, vocab: Vocab) -> str | None:
    """The token that ends documents in this vocabulary, where the tokenizer names a chat turn's end; else None."""
    if files.eos_token not in _TURN_ENDS:
        return None
    there = set(vocab.specials.values())
    return next((token for token in _DOCUMENT_ENDS if token in there), None)
