"""Fields that hold a function: the job imports it by its whole path (recipes/bridge_lib/values.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automodel_launch.backends.megatron_bridge import settings
from automodel_launch.backends.megatron_bridge.checks.told import bad_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, nearest

_ACTIVATION = "model.activation_func"
_KEYS = (
    _ACTIVATION,
    *(f"model.{name}" for name in ("init_method", "output_layer_init_method", "embedding_init_method")),
    "model.transformer_layer_spec",
)
_TORCH = "torch.nn.functional"
_ACTIVATIONS = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "tanh")


def paths(plan: Plan) -> Iterator[Finding]:
    """A name without a module, and an activation that torch does not have."""
    known = settings.of(plan.config)
    for key in _KEYS:
        value = known.value(key)
        called = value.get("_target_") if isinstance(value, Mapping) else None
        if isinstance(called, str) and called.startswith(f"{_TORCH}.") and len(value) == 1:
            what = ": Megatron-Bridge calls what _target_ names, and a function needs its argument."
            yield bad_value(plan, key, value, what, f"{key}={called}")
        if not isinstance(value, str) or not known.written(key) or "${" in value:
            continue
        module, _, name = value.rpartition(".")
        near = nearest(name, _ACTIVATIONS) if key == _ACTIVATION else None
        if not module:
            fix = f"{key}={_TORCH}.{near}" if near else f"{key}=MODULE.NAME"
            yield bad_value(plan, key, value, ": no function of that path; it is imported by module and name.", fix)
        elif module == _TORCH and near and name != near and alike(name, near):
            yield bad_value(plan, key, value, f": {_TORCH} has no {name}.", f"{key}={_TORCH}.{near}")


CHECKS = (paths,)
