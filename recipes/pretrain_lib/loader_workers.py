"""Data loader workers, forked by a server that has imported AutoModel once, while the rank sets itself up.

AutoModel has each of them started with `spawn`, where no other way has been chosen: each imports AutoModel anew, the
training's two before the first step and the validation's two before the first validation, on each of a node's ranks.
The server has no GPU, no data and no threads of Python's; from 3.14 on Python itself starts processes in this way. What
a rank changes in its environment after `prepare` does not reach the workers.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver
from typing import Any

from .output import say

_SECTIONS = ("dataloader", "validation_dataloader")
_PACKAGE = "nemo_automodel.components.datasets."


def prepare(config: Any) -> None:
    """Start the server where AutoModel's `config` has workers; contract: its classes have been imported here."""
    wanted = any(config.get(f"{section}.num_workers", 0) for section in _SECTIONS)
    # AutoModel's alone: what a user's own modules do at their import stays in the workers.
    modules = sorted(name for name in sys.modules if name.startswith(_PACKAGE))
    if not wanted or not modules or sys.platform != "linux":
        return
    if multiprocessing.get_start_method(allow_none=True) is None:
        multiprocessing.set_start_method("forkserver")
        multiprocessing.set_forkserver_preload(modules)
        try:
            forkserver.ensure_running()
        except OSError as error:  # its socket's path, below TMPDIR, may be too long
            say(f"each data loader worker imports AutoModel by itself: {error}")
            multiprocessing.set_start_method("spawn", force=True)
