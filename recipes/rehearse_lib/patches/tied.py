"""Tied weights, told from storages."""

from __future__ import annotations

from typing import Any


def apply() -> None:
    """Have AutoModel compare storages themselves."""
    # AutoModel 0.7.0, tied_weights.py:187: it compares data pointers, and those of fake tensors are all 0, so that
    # every weight would look tied to every other.
    from nemo_automodel.shared import tied_weights

    def same(left: Any, right: Any) -> bool:
        one, other = (getattr(tensor, "_local_tensor", tensor) for tensor in (left, right))
        return one is other or one.untyped_storage()._cdata == other.untyped_storage()._cdata

    tied_weights._same_tensor_storage = same
