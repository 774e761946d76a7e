"""What the patches see of the attempt that they are for (stages.Run), in a module that imports neither."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from .request import Request


class Run(Protocol):
    """One rank of a job, as far as patches need it; `notes` is added to."""

    request: Request
    config: Mapping[str, Any]
    rank: int
    scratch: Path
    notes: list[dict[str, Any]]
    mode: Any
    recipe: Any
