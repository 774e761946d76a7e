"""What trains, as far as the node agent has to know: its log lines, checkpoints and end.

    base.py       the Protocol
    fields.py     `name value | name value`, which both read
    automodel.py  NeMo AutoModel 0.7.0
    data_prep.py  recipes/data_prep.py: no steps, no checkpoints
    megatron_bridge.py  Megatron-Bridge 0.3.1
    none.py       a script of which nothing else is known

agent.json names the backend; nothing outside this folder knows a framework's forms.
"""

from __future__ import annotations

import contract

from ..files import Json
from .automodel import AutoModel
from .base import Backend, Checkpoint, finished_mark, newest_checkpoint
from .data_prep import DataPrep
from .megatron_bridge import MegatronBridge
from .none import NoBackend

__all__ = ["Backend", "Checkpoint", "finished_mark", "get", "newest_checkpoint", "of"]

_ALL: tuple[Backend, ...] = (AutoModel(), MegatronBridge(), DataPrep(), NoBackend())
_BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _ALL}


def get(name: str) -> Backend:
    """The backend of that name; of a name that the agents refuse (spec.py), nothing is known."""
    return _BACKENDS.get(name, _BACKENDS[contract.NO_BACKEND])


def of(order: Json) -> Backend:
    """The backend that an agent.json names; launchers before the key knew AutoModel only."""
    return get(order.get("backend", contract.AUTOMODEL))
