"""Which tokenizer, which ids: the files of a tokenizer, its special tokens, and how wide its ids are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep_lib import schema
from data_prep_lib.errors import InputError, reading

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Megatron's limit (DType.optimal_dtype): uint16 below 65,500 ids, else int32. There is no uint32 in the format.
_UINT16_BELOW = 65_500


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer before it is loaded; hashing its file takes milliseconds, importing tokenizers does not."""

    name: str
    path: str
    sha256: str
    eos_token: str | None
    bos_token: str | None


@dataclass(frozen=True)
class Vocab:
    """`size` is the highest id + 1; `dtype` a numpy name; `specials` the special tokens by id."""

    size: int
    dtype: str
    eos_id: int | None
    bos_id: int | None
    specials: Mapping[int, str] = field(default_factory=dict)


def find_tokenizer(name: str, eos_token: str | None = None, bos_token: str | None = None) -> TokenizerFiles:
    """`name` is a directory with tokenizer.json, or a hub id; the tokens are taken instead of those that it names."""
    with reading("tokenizer"):
        path = _local(name)
    if path is None:
        from data_prep_lib.hub import fetch_tokenizer

        path = fetch_tokenizer(name)
    with reading("tokenizer"):
        beside = [_read_json(path.with_name(file)) for file in ("tokenizer_config.json", "special_tokens_map.json")]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    config = beside[0] | beside[1]
    eos, bos = eos_token or _token(config.get("eos_token")), bos_token or _token(config.get("bos_token"))
    return TokenizerFiles(name, str(path), digest, eos, bos)


def _local(name: str) -> Path | None:
    """tokenizer.json of a directory; None of a hub id."""
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    directory = schema.path("tokenizer", name)
    if not (directory.is_dir() or looks_local):
        return None
    if not (directory / "tokenizer.json").is_file():
        what = "holds no tokenizer.json" if directory.is_dir() else "is not a directory"
        raise InputError(
            f"tokenizer: {directory} {what}\n"
            "  valid: a directory with tokenizer.json (as save_pretrained writes it), or a hub id"
        )
    return (directory / "tokenizer.json").resolve()


def load_tokenizer(path: str) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as e:  # tokenizers raises bare Exception
        raise InputError(f"tokenizer: {path} is not a tokenizer file: {e}") from None
    # Some tokenizer.json files carry a truncation or padding of their own: documents would be cut in silence.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_vocab(files: TokenizerFiles, add_bos: bool, add_eos: bool) -> Vocab:
    tokenizer = load_tokenizer(files.path)
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if size == 0:
        raise InputError(f"tokenizer: {files.path} has no tokens")
    ids = {}
    for key, token, wanted in (("eos", files.eos_token, add_eos), ("bos", files.bos_token, add_bos)):
        ids[key] = tokenizer.token_to_id(token) if token else None
        if wanted and ids[key] is None:
            has = f"{token!r} is not in its vocabulary" if token else f"its tokenizer_config.json names no {key}_token"
            raise InputError(
                f"add_{key}: tokenizer {files.name}: {has}\n  set {key}_token to one that it has, or add_{key}: false"
            )
    specials = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return Vocab(size, "uint16" if size < _UINT16_BELOW else "int32", ids["eos"], ids["bos"], specials)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise InputError(f"tokenizer: {path} is not JSON: {e}") from None
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else {}


def _token(value: Any) -> str | None:
    """A special token stands there as text, or as an AddedToken's mapping."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None
