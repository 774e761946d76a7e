"""Python's garbage collector, which has no part in an import: what a module defines stays."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Collect nothing meanwhile, and afterwards nothing of what is there now.

    AutoModel's 800,000 objects are looked through more than a thousand times while it is imported, which takes an
    eighth of the time, and for 0.4 s in each full collection from then on: AutoModel has one at each validation, Python
    two at its end. What is garbage by then, 11,000 objects (2 MB), stays with them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
