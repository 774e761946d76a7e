"""The model's numbers and, roughly, its parameters.

A number is that of `model:` in the config, else of the Hugging Face config that `hf_configs:` gives in place of the
hub's, else of the model that the recipe names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automodel_launch.backends.megatron_bridge import keys
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.config import dotted

# Megatron's name of a number -> those of config.json (models/conversion/model_bridge.py, CONFIG_MAPPING)
_OF_HUGGING_FACE = {
    "num_layers": ("num_hidden_layers",),
    "hidden_size": ("hidden_size",),
    "ffn_hidden_size": ("intermediate_size",),
    "num_attention_heads": ("num_attention_heads",),
    "num_query_groups": ("num_key_value_heads",),
    "kv_channels": ("head_dim",),
    "vocab_size": ("vocab_size",),
    "num_moe_experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "moe_ffn_hidden_size": ("moe_intermediate_size",),
    "share_embeddings_and_output_weights": ("tie_word_embeddings",),
}
_BILLIONS = re.compile(r"(?:^|_)(\d+)(?:p(\d+))?(b|m)(?:_|$)")
_LARGEST = 1 << 20
_OTHER_FORMS = ("Mamba", "Nemotron", "MLA", "Moonlight")  # providers of models that are no decoders of Llama's form


def hugging_face(known: Settings, look: bool = True) -> Mapping[str, Any] | None:
    """The config that `hf_configs:` has for the recipe's model; None where it has none, or one not seen from here.

    `look`: this machine sees the job's files.
    """
    given = dotted.get(known.config, keys.HF_CONFIGS)
    hub = known.recipe.hub if known.recipe else None
    entry = given.get(hub) if isinstance(given, Mapping) and hub else None
    if isinstance(entry, Mapping):
        return entry
    if not isinstance(entry, str) or not look or dotted.left_to_the_job(entry):
        return None
    try:
        path = Path(entry, "config.json")
        found = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < _LARGEST else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_known(known: Settings, look: bool = True) -> bool:
    """Numbers that are not there are not the model's: its config is seen, or the recipe's model is the hub's."""
    if replaced(known):
        return hugging_face(known, look) is not None
    return known.complete and (known.recipe is None or not known.recipe.hub or keys.LAYERS in known.recipe.values)


def replaced(known: Settings) -> bool:
    """`hf_configs:` has another config for the recipe's model than the hub."""
    given = dotted.get(known.config, keys.HF_CONFIGS)
    return bool(known.recipe and isinstance(given, Mapping) and known.recipe.hub in given)


def number(known: Settings, name: str, look: bool = True) -> Any:
    """A number of the model by Megatron's name (`num_layers`); None where it is not known here."""
    key = f"model.{name}"
    if known.written(key) or not replaced(known):
        return known.value(key)
    written = hugging_face(known, look) or {}
    return next((written[one] for one in _OF_HUGGING_FACE.get(name, ()) if one in written), None)


def integer(known: Settings, name: str, look: bool = True) -> int | None:
    """The same, where it is an integer."""
    found = number(known, name, look)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def parameters(known: Settings, look: bool = True) -> int | None:
    """Parameters of the model: counted for a decoder of Llama's form, else as the recipe's name says (`_9b_`)."""
    return _counted(known, look) or _named(known)


def _counted(known: Settings, look: bool) -> int | None:
    provider = known.recipe.classes.get("model", "") if known.recipe else ""
    if provider.startswith(_OTHER_FORMS) or known.value("model.multi_latent_attention"):
        return None
    found = {
        name: integer(known, name, look) for name in _OF_HUGGING_FACE if name != "share_embeddings_and_output_weights"
    }
    layers, hidden, heads, vocabulary = (
        found[n] for n in ("num_layers", "hidden_size", "num_attention_heads", "vocab_size")
    )
    inner = found["ffn_hidden_size"]
    if not (layers and hidden and heads and vocabulary and inner):
        return None
    width = found["kv_channels"] or hidden // heads
    attention = 2 * hidden * width * (heads + (found["num_query_groups"] or heads))
    matrices = 3 if replaced(known) or known.value("model.gated_linear_unit") else 2
    feed = matrices * hidden * inner
    if found["num_moe_experts"]:
        feed = found["num_moe_experts"] * matrices * hidden * (found["moe_ffn_hidden_size"] or inner)
    tied = number(known, "share_embeddings_and_output_weights", look)
    return layers * (attention + feed) + vocabulary * hidden * (1 if tied else 2)


def _named(known: Settings) -> int | None:
    sizes = any(known.written(key) for key in (keys.LAYERS, keys.HIDDEN, keys.EXPERTS))
    match = _BILLIONS.search(known.recipe.name) if known.recipe and not sizes and not replaced(known) else None
    if match is None:
        return None
    whole, part, unit = match.groups()
    return round(float(f"{whole}.{part or 0}") * (10**9 if unit == "b" else 10**6))
