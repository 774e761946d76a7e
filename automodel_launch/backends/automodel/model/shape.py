"""A model's numbers, from the training config itself or from a config.json on this machine; nothing is downloaded.

Keys are those of Hugging Face's config.json (transformers, configuration_utils.py and each model's configuration file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch.backends.automodel import keys
from automodel_launch.backends.automodel.model import published
from automodel_launch.backends.automodel.model import section as section_
from automodel_launch.backends.automodel.schema import kinds
from automodel_launch.backends.hub import cache
from automodel_launch.config import dotted

GPT2_BUILDER = "build_gpt2_model"
# Defaults of nemo_automodel.components.models.gpt2.build_gpt2_model and of transformers.GPT2Config.
_GPT2 = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
_SYNONYMS = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head",),
    "max_position_embeddings": ("n_positions",),
    "num_experts": ("num_local_experts", "n_routed_experts"),
}
_NO_NUMBERS = ("_target_", keys.PRETRAINED, "name_or_path")
# Families of transformers' whose models read text alone, and name their layers as Llama does.
AS_LLAMA = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "smollm3", "granite"}
# Families whose classes tie the output layer to the embedding by default.
_TIED = {"gpt2", "gemma", "gemma2", "gemma3_text"}


@dataclass(frozen=True)
class Shape:
    """A model's numbers: `get` reads them by config.json's names; `where` is the key or the file they come from."""

    family: str  # model_type: llama, qwen3_moe, gpt2, ...
    numbers: Mapping[str, Any]
    where: str

    def get(self, name: str) -> int | None:
        """An integer, under this name or the one that the family uses instead of it."""
        for key in (name, *_SYNONYMS.get(name, ())):
            value = kinds.as_read(self.numbers.get(key))
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None

    @property
    def kv_heads(self) -> int | None:
        """Key/value heads. A class's own default is not guessed: in config.json the number is always written."""
        return self.get("num_key_value_heads") or (self.get("num_attention_heads") if self._one_head_a_kv else None)

    @property
    def _one_head_a_kv(self) -> bool:
        return self.family in ("llama", "gpt2") or self.where.endswith(("config.json", "as published"))

    @property
    def head_dim(self) -> int | None:
        """Width of a head."""
        hidden, heads = self.get("hidden_size"), self.get("num_attention_heads")
        return self.get("head_dim") or (hidden // heads if hidden and heads else None)

    @property
    def tied(self) -> bool:
        """Embedding and output layer share their weights."""
        written = self.numbers.get("tie_word_embeddings")
        return written if isinstance(written, bool) else self.family in _TIED

    @property
    def experts(self) -> int:
        """Routed experts of a layer; 0 for a dense model."""
        return self.get("num_experts") or 0

    @property
    def stored_as(self) -> str | None:
        """The type of the published weights."""
        value = self.numbers.get("dtype") or self.numbers.get("torch_dtype")
        return str(value).removeprefix("torch.") if value else None


def read(config: Mapping[str, Any], read_files: bool = True, loaded: Mapping[str, Any] | None = None) -> Shape | None:
    """The shape of the config's model; None where it is not known here.

    `read_files` allows files: a directory that the config names, or a hub id in this machine's Hugging Face cache.
    Without them a hub id's sizes are those of published.py, if it is there.
    `loaded` is what that directory's config.json holds, where it was read elsewhere.
    """
    section = section_.read(config)
    if section is None:
        return None
    hidden = any(dotted.left_to_the_job(value) for value in section.written.values())
    numbers = {key: value for key, value in section.written.items() if key not in _NO_NUMBERS}
    if section.place and not dotted.left_to_the_job(section.place):
        path = _config_json(section.place) if read_files and not loaded else None
        known = None if path or loaded else published.SIZES.get(section.place)
        found = known or (_load(path) if path else loaded)
        where = str(path) if path else f"{section.place}, as published" if known else f"{section.place}/config.json"
        return _shape({**found, **numbers}, where, None) if found and not hidden else None
    if hidden or section.kind is None:
        return None
    return _shape(numbers, section.key, section.kind)


def _shape(numbers: Mapping[str, Any], where: str, kind: str | None) -> Shape | None:
    text = numbers.get("text_config")  # a model of text and images keeps the language model's numbers below this key
    if isinstance(text, Mapping):
        numbers = {**numbers, **text}
    family = numbers.get("model_type") or _family(kind or "")
    if not isinstance(family, str):
        return None
    if family == "gpt2":
        defaults = {**_GPT2, "n_positions": 2048} if kind == GPT2_BUILDER else _GPT2
        numbers = {**defaults, **numbers}
        if kind == GPT2_BUILDER and numbers.get("n_ctx"):
            numbers["n_positions"] = numbers["n_ctx"]
    shape = Shape(family, numbers, where)
    return shape if shape.get("hidden_size") and shape.get("num_hidden_layers") else None


def _family(kind: str) -> str | None:
    """model_type of a class of transformers: Qwen3MoeConfig -> qwen3_moe."""
    if kind == GPT2_BUILDER:
        return "gpt2"
    name = kind.removesuffix("Config")
    if name == kind:
        return None
    known = {"GPT2": "gpt2", "GptOss": "gpt_oss", "DeepseekV3": "deepseek_v3", "DeepseekV2": "deepseek_v2"}
    return known.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _config_json(place: str) -> Path | None:
    """config.json of a directory, or of a hub id in the cache."""
    path = Path(place).expanduser() / "config.json"
    return path if path.is_file() else cache.cached(place, "config.json")


def _load(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
