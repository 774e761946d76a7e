"""Learning rates that no training takes, for the backends' checks."""

from __future__ import annotations

import math
from typing import Any, Literal

_ADAMS = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "FusedAdam", "Lion")
_LIKELY, _SURELY = 0.1, 10.0  # from which a rate is most likely, and surely, a slip


def is_adam(target: Any) -> bool:
    """A class by its dotted path whose steps are as long as the rate, whatever the gradients are."""
    return str(target).rpartition(".")[2] in _ADAMS


def too_high(rate: Any) -> tuple[Literal["error", "warning"], str] | None:
    """A level and what would happen, of a finite rate under such a class.

    Weights begin with a deviation of about 0.02 (transformers' initializer_range), and each step of Adam's moves each
    by about the rate (Kingma and Ba 2015, arXiv 1412.6980, section 2.1).
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not _LIKELY <= rate < math.inf:
        return None
    why = f"each step would move every weight by about {rate:g}, and they begin near 0.02."
    return ("error" if rate >= _SURELY else "warning"), why
