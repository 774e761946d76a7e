"""Numbers and names of a model's config at which its class, or its first step, stops; or that make every loss NaN.

Of `model.config` alone, in a class of transformers': what a directory or the hub has was trained with. Each was tried
with AutoModel 0.7.0, transformers 5 and torch 2.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel.schema import kinds
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed, nearest

_CONFIG = "model.config"
_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "n_embd", "n_layer", "n_head", "n_positions"),
)
_FROM_ZERO = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_eps", "norm_epsilon")
_SHARES = ("attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout", "residual_dropout")
_MOST_STD = {"transformers.LlamaConfig": 1.0}  # its own limit; others take any
_ROTARY_BASES = ("rope_theta", "rope_parameters.rope_theta")
_ROTARY = ("rope_scaling", "rope_parameters")
# transformers/modeling_rope_utils.py: what each kind needs beside what a config fills in by itself
_ROTARY_NEEDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "proportional": (),
}
# transformers/activations.py, ACT2CLS
_ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh"),
    *("gelu_accurate", "hardswish", "hardsigmoid", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu"),
    *("relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "prelu", "xielu"),
)
_ACTIVATION_KEYS = ("hidden_act", "activation_function", "hidden_activation")


def _section(plan: Plan) -> Mapping[str, Any]:
    section = dotted.get(plan.config, _CONFIG)
    target = section.get("_target_") if isinstance(section, Mapping) else None
    is_class = isinstance(target, str) and target.startswith("transformers.") and target.endswith("Config")
    return section if is_class and isinstance(section, Mapping) else {}


def sizes(plan: Plan) -> Iterator[Finding]:
    """Sizes below 1."""
    section = _section(plan)
    for name in _SIZES:
        value = kinds.as_read(section.get(name))
        experts = name == "intermediate_size" and any("expert" in other for other in section)  # which it may have alone
        if isinstance(value, int) and not isinstance(value, bool) and value < 1 and not experts:
            yield _bad(plan, name, value, "must be at least 1", f"{_CONFIG}.{name}=NUMBER", "not-positive")


def head(plan: Plan) -> Iterator[Finding]:
    """Rotary positions turn pairs of a head's numbers."""
    section = _section(plan)
    value = kinds.as_read(section.get("head_dim"))
    if isinstance(value, int) and value > 0 and value % 2 and section["_target_"] == "transformers.LlamaConfig":
        yield _bad(
            plan, "head_dim", value, "is odd, and rotary positions turn pairs", f"{_CONFIG}.head_dim={value + 1}"
        )


def shares(plan: Plan) -> Iterator[Finding]:
    """Epsilons, shares and deviations outside of their range."""
    section = _section(plan)
    most = dict.fromkeys(_SHARES, 1.0) | dict.fromkeys(_FROM_ZERO, float("inf"))
    most["initializer_range"] = _MOST_STD.get(section.get("_target_", ""), float("inf"))
    for name, limit in most.items():
        value = kinds.as_read(section.get(name))
        if isinstance(value, int) and name not in _SHARES:  # not a float, which is a finding of its own
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or 0 <= value <= limit:
            continue
        to = f"from 0 to {limit:g}" if limit < float("inf") else "0 or more"
        right = "0.02" if name == "initializer_range" else "0.0" if name in _SHARES else "1e-5"
        yield _bad(plan, name, value, f"has to be {to}", f"{_CONFIG}.{name}={right}")


def padding(plan: Plan) -> Iterator[Finding]:
    """The padding's row of the embedding: torch counts a negative one from the end."""
    section = _section(plan)
    pad, vocabulary = (kinds.as_read(section.get(name)) for name in ("pad_token_id", "vocab_size"))
    if isinstance(pad, int) and isinstance(vocabulary, int) and vocabulary > 0 and not -vocabulary <= pad < vocabulary:
        what = f"is no id of a model with vocab_size = {vocabulary}"
        yield _bad(plan, "pad_token_id", pad, what, f"{_CONFIG}.pad_token_id=null, or an id below {vocabulary}")


def activations(plan: Plan) -> Iterator[Finding]:
    """Names of activations, of which a KeyError would tell."""
    section = _section(plan)
    for name in _ACTIVATION_KEYS:
        value = section.get(name)
        if isinstance(value, str) and value not in _ACTIVATIONS and "${" not in value:
            near = completed(value, _ACTIVATIONS) or "silu"
            what = f"transformers has no such activation: {', '.join(_ACTIVATIONS[:8])}, ..."
            yield _bad(plan, name, value, what, f"{_CONFIG}.{name}={near}")


def rotary(plan: Plan) -> Iterator[Finding]:
    """The base of the rotary positions is raised to negative powers: of 0 or less the loss is NaN from step 0 on."""
    section = dotted.get(plan.config, _CONFIG)
    for key in _ROTARY_BASES:
        value = dotted.get(section, key) if isinstance(section, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            what = "the loss would be NaN; it must be above 0"
            yield _bad(plan, key, value, what, f"{_CONFIG}.{key}=10000.0", "not-positive")


def scaling(plan: Plan) -> Iterator[Finding]:
    """Kinds of rotary positions, and what each needs; a factor of 0 makes every loss NaN."""
    for key in _ROTARY:
        given = _section(plan).get(key)
        if not isinstance(given, Mapping) or any(isinstance(one, Mapping) for one in given.values()):
            continue  # some have one for each kind of layer
        kind = given.get("rope_type", given.get("type", "default"))
        if not isinstance(kind, str) or "${" in kind:
            continue
        if kind not in _ROTARY_NEEDS:
            near = nearest(kind, list(_ROTARY_NEEDS)) or "linear"
            name = "rope_type" if "rope_type" in given else "type"
            what = f"transformers has no such rotary positions: {', '.join(_ROTARY_NEEDS)}"
            yield _bad(plan, f"{key}.{name}", kind, what, f"{_CONFIG}.{key}.{name}={near}")
            continue
        for name in (one for one in _ROTARY_NEEDS[kind] if given.get(one) is None):
            message = (
                f"{describe_value(plan, f'{_CONFIG}.{key}', dict(given))}: {kind} needs {name}, which is not given."
            )
            yield Finding("error", "missing-key", message, f"+{_CONFIG}.{key}.{name}=NUMBER")
        factor = kinds.as_read(given.get("factor"))
        if isinstance(factor, int | float) and not isinstance(factor, bool) and factor <= 0:
            what = "positions are divided by it; it must be at least 1"
            yield _bad(plan, f"{key}.factor", factor, what, f"{_CONFIG}.{key}.factor=8.0", "not-positive")


def layers(plan: Plan) -> Iterator[Finding]:
    """`layer_types` has one entry a layer."""
    section = _section(plan)
    types, number = section.get("layer_types"), kinds.as_read(section.get("num_hidden_layers"))
    if isinstance(types, list) and isinstance(number, int) and number > 0 and len(types) != number:
        what = f"has {len(types)} entries for {number} layers"
        yield _bad(plan, "layer_types", types, what, f"one entry a layer; or ~{_CONFIG}.layer_types")


def _bad(plan: Plan, name: str, value: Any, what: str, fix: str, code: str = "bad-value") -> Finding:
    told = describe_value(plan, f"{_CONFIG}.{name}", value)
    message = f"{told} {what}." if what.startswith(("must", "is ", "has to", "has ")) else f"{told}: {what}."
    if code == "not-positive":
        return Finding("error", "not-positive", message, fix)
    return Finding("error", "bad-value", message, fix)


CHECKS = (sizes, head, shares, padding, activations, rotary, scaling, layers)
