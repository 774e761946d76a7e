"""Shapes of whole tensors, which DTensor works out and no rank ever holds."""

from __future__ import annotations

from typing import Any

from .. import memory


def apply() -> None:
    """Keep them out of the count of bytes."""
    # torch 2.13: the propagation makes tensors of global shape in the fake mode that is active (70B: 148 instead of
    # 101 GiB).
    from torch.distributed.tensor._sharding_prop import ShardingPropagator

    propagate = ShardingPropagator._propagate_tensor_meta_non_cached

    def quietly(self: Any, *args: Any, **kwargs: Any) -> Any:
        memory.quiet += 1
        try:
            return propagate(self, *args, **kwargs)
        finally:
            memory.quiet -= 1

    ShardingPropagator._propagate_tensor_meta_non_cached = quietly
