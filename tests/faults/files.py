"""What a launch of tests/faults/ finds on disk: shards whole and damaged, tokenizers, records, commits."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.recipes.pretrain_fixtures import write_megatron, write_nanogpt

VOCABULARY = 300  # of the tokenizer and the data in DATA, and of the models in configs/
Text = Callable[[str], str]  # puts the real directories into a text of a launch


def make(path: Path, content: Any, text: Text) -> None:
    """Write what the value of one entry of `files` describes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(text(content))
    elif content is None:
        path.mkdir()
    else:
        (kind, given), *_ = content.items()
        _MAKERS[kind](path, given or {}, text)


def _megatron(path: Path, given: Mapping[str, int], text: Text) -> None:
    number, length, top = given.get("documents", 100), given.get("length", 50), given.get("top", VOCABULARY - 1)
    write_megatron(path, documents(number, length, top))
    tokens = path.with_suffix(".bin")
    os.truncate(tokens, tokens.stat().st_size - given.get("cut", 0))
    index = path.with_suffix(".idx")
    os.truncate(index, index.stat().st_size - given.get("index_cut", 0))


def _nanogpt(path: Path, given: Mapping[str, Any], text: Text) -> None:
    tokens, size = given.get("tokens", 9000), given.get("top", VOCABULARY - 1) + 1
    write_nanogpt(path, [number % 50 and number % size for number in range(tokens)])  # a document in 50, begun by a 0
    with path.open("r+b") as file:
        if "claims" in given:
            file.seek(8)
            file.write(struct.pack("<i", given["claims"]))
        if "magic" in given:
            file.seek(0)
            file.write(struct.pack("<i", given["magic"]))
        file.truncate(path.stat().st_size - given.get("cut", 0))
    if "bos" in given:
        step = {"positions": 50, "offsets": 100}[given["bos"]]
        starts = range(0, tokens * step // 50, step)
        path.with_suffix(".bos.idx").write_bytes(struct.pack(f"<{len(starts)}i", *starts))


def documents(number: int, length: int, top: int) -> list[list[int]]:
    """Documents that count upwards, modulo `top` + 1."""
    return [[(17 * first + i) % (top + 1) for i in range(length)] for first in range(number)]


def tokenizer(folder: Path, given: Mapping[str, Any] | None = None, text: Text | None = None) -> None:
    """A tokenizer of bytes that transformers loads; written without it, since importing it takes seconds."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    first = (given or {}).get("first", "<|endoftext|>")
    tokens = {token: number for number, token in enumerate([first, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([first])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": first, "model_max_length": 1024}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def _record(path: Path, given: Mapping[str, Any], text: Text) -> None:
    """record.json of data preparation, as far as lineage.py reads it."""
    file = Path(text(given["tokenizer"]), "tokenizer.json")
    made = {"name": str(file.parent), "path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    path.write_text(json.dumps({"tokenizer": made}))


_MAKERS: dict[str, Callable[[Path, Any, Text], object]] = {
    "megatron": _megatron,
    "nanogpt": _nanogpt,
    "tokenizer": tokenizer,
    "record": _record,
    "squashfs": lambda path, size, text: path.write_bytes(struct.pack("<4s36xQ48x", b"hsqs", size)),
    "bytes": lambda path, given, text: path.write_bytes(bytes(given)),
    "link": lambda path, given, text: path.symlink_to(text(given)),
    "sparse": lambda path, given, text: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), given),
}


def commit(folder: Path, paths: tuple[str, ...]) -> None:
    """A new repository with one commit of these paths."""
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", *paths], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
