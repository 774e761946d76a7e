"""A tokenizer from the hub; what is in the local cache is taken without asking the network."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from data_prep_lib.errors import InputError


def fetch_tokenizer(name: str) -> Path:
    """Path of tokenizer.json in the cache, its tokenizer_config.json beside it where the hub has one."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        def get(file: str) -> Path:
            try:
                return Path(hf_hub_download(name, file, local_files_only=True))
            except LocalEntryNotFoundError:
                return Path(hf_hub_download(name, file))

        try:
            path = get("tokenizer.json")
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return _convert(name)
        for other in ("tokenizer_config.json", "special_tokens_map.json"):
            with suppress(EntryNotFoundError):
                get(other)
        return path
    except InputError:
        raise
    except Exception as e:  # httpx, requests and huggingface_hub each have their own
        reason = (str(e) or type(e).__name__).strip().splitlines()[0]
        raise InputError(
            f"tokenizer: {name!r} is neither a directory here nor to be had from the hub: {reason}\n"
            "  valid: a directory with tokenizer.json, or a hub id (HF_TOKEN for a gated one)"
        ) from None


def _convert(name: str) -> Path:
    """A hub tokenizer without tokenizer.json, converted by transformers into a directory of this user."""
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise InputError(f"tokenizer: {name!r} has no tokenizer.json\n  install transformers to convert it") from None
    directory = Path(tempfile.mkdtemp(prefix="data-prep-tokenizer-"))
    AutoTokenizer.from_pretrained(name).save_pretrained(directory)
    if not (directory / "tokenizer.json").is_file():
        raise InputError(f"tokenizer: {name!r} cannot be converted to a tokenizer.json")
    return directory / "tokenizer.json"
