"""A model's config: keywords that its class takes, maps to another name or never reads; heads that do not divide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.backends.automodel.checks.keys import ignored, kind, silent
from automodel_launch.backends.automodel.model import shape as model_shape
from automodel_launch.backends.automodel.schema import Signature
from automodel_launch.plan.describe import divisors, shortened
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan


def keywords(plan: Plan, key: str, section: Mapping[str, Any], taken: Signature) -> Iterator[Finding]:
    """Each keyword of the section at `key`, whose `_target_` is a class that `taken` describes.

    transformers keeps any keyword as an attribute: what no model reads changes nothing, and is not refused.
    """
    shared = schemas.load().data["configs"]
    own = {*taken.params, *taken.maps, *taken.maps.values(), *taken.reads}
    for name, value in section.items():
        parameter = taken.maps.get(name, name)
        if parameter in taken.params:
            yield from kind(plan, f"{key}.{name}", value, taken.params[parameter], strict=taken.strict)
        elif name == "_target_" or name.startswith("_") or name in own or name in shared["reads"]:
            continue
        elif name in shared["ignores"]:
            yield silent(plan, f"{key}.{name}", value)
        else:
            # published files keep a key of an older release beside the one that replaced it, with the same value
            wanted = sorted(other for other in own if other not in section or section[other] != value)
            yield ignored(plan, f"{key}.{name}", value, wanted, f"in {section['_target_']}")


def heads(plan: Plan) -> Iterator[Finding]:
    """Each key/value head serves as many query heads; the model fails at its first step, in the words of a product."""
    shape = model_shape.read(plan.config, plan.visible)
    if shape is None or shape.get("kv_lora_rank"):  # latent attention has no use for the number
        return
    queries, keys = shape.get("num_attention_heads"), shape.get("num_key_value_heads")
    if queries and keys and queries > 0 and keys > 0 and queries % keys:
        message = (
            f"the model's num_key_value_heads = {keys} does not divide its num_attention_heads = {queries}"
            f" ({shape.where})."
        )
        yield Finding("error", "heads", message, f"num_key_value_heads = {shortened(divisors(queries))}")


# Their configs refuse such a width even where head_dim is given (`validate_architecture`, transformers 5).
_WHOLE_HEADS = ("llama", "gemma2", "gemma3_text", "deepseek_v2", "gpt2")
# Their heads are hidden_size // num_attention_heads wide where head_dim is not given, and fail where that is odd.
_DERIVES = ("mistral", "mixtral", "qwen2", "qwen3_moe")


def width(plan: Plan) -> Iterator[Finding]:
    """hidden_size is shared out to the heads; where head_dim is given most families project to heads of any width."""
    shape = model_shape.read(plan.config, plan.visible)
    if shape is None or shape.get("kv_lora_rank"):
        return
    hidden, number = shape.get("hidden_size"), shape.get("num_attention_heads")
    if not hidden or not number or hidden < 1 or number < 1 or hidden % number == 0:
        return
    even = (
        hidden // number % 2 == 0
    )  # rotary positions turn pairs; a class has its own default of head_dim (Qwen3: 128)
    if shape.family not in _WHOLE_HEADS and (shape.get("head_dim") or even or shape.family not in _DERIVES):
        return
    message = (
        f"the model's hidden_size = {hidden} is no multiple of its num_attention_heads = {number} ({shape.where})."
    )
    below, above = hidden // number * number, (hidden // number + 1) * number
    sizes = " or ".join(str(size) for size in (below, above) if size)
    yield Finding(
        "error", "heads", message, f"hidden_size = {sizes}, or num_attention_heads = {shortened(divisors(hidden))}"
    )


CHECKS = (heads, width)
