"""Errors that are known by their words: what they mean, what to do, whether a further attempt can help.

    signature.py  what is said of one
    gpu.py        GPUs, their driver, Xid lines
    memory.py     memory of GPUs, of the host, shared
    network.py    NCCL, gloo, the store, InfiniBand
    storage.py    disks and files
    hub.py        the Hugging Face Hub, tokenizers
    program.py    Python, PyTorch, AutoModel, Megatron-Bridge, numbers
    cluster.py    Slurm, containers, the agent
    forms.py      how software prints an error: what is a message, and what is its head

docs/known-errors.md is made from these (scripts/make_known_errors.py).
"""

from __future__ import annotations

import re
from functools import lru_cache

from . import forms
from .cluster import CLUSTER
from .gpu import GPU, XIDS
from .hub import HUB
from .memory import MEMORY
from .network import NETWORK
from .program import PROGRAM
from .signature import CANNOT, CASCADE, EITHER, HELPS, MAY, RESTARTS, ROLES, ROOT, Signature
from .storage import STORAGE

__all__ = [
    "CANNOT",
    "CASCADE",
    "EITHER",
    "GROUPS",
    "HELPS",
    "MAY",
    "RESTARTS",
    "ROLES",
    "ROOT",
    "Signature",
    "get",
    "of_error",
    "of_line",
]

# The first one that fits counts, so what is more special stands first.
GROUPS = (
    ("Xid lines of the kernel", XIDS),
    ("GPUs", GPU),
    ("memory", MEMORY),
    ("disks and files", STORAGE),
    ("the hub and tokenizers", HUB),
    ("Slurm, containers and the node agent", CLUSTER),
    ("the program", PROGRAM),
    ("between ranks", NETWORK),
)
_ALL = tuple(signature for _, group in GROUPS for signature in group)
_BY_ID = {signature.id: signature for signature in _ALL}
_seen: dict[str, Signature | None] = {}
_MOST_SEEN = 4096
MOST_CHARS = 2000  # of a line; what is longer holds data, and would make the search slow


def get(name: str | None) -> Signature | None:
    """The one of that id; None for one that this version does not know."""
    return _BY_ID.get(name) if isinstance(name, str) else None


def of_error(text: str | None) -> Signature | None:
    """What is known of a text that is an error, such as the exception that has left a rank's script."""
    for message in forms.messages(text[:MOST_CHARS]) if text else ():
        found = _any().match(message)
        if found and found.lastgroup:
            return _ALL[int(found.lastgroup[1:])]
    return None


def of_line(line: str) -> Signature | None:
    """What is known of a line of a log, where it has the form in which software prints an error of its own.

    Thousands of ranks say the same, but for their numbers: what was found is kept for a while.
    """
    line = line[:MOST_CHARS]
    if not forms.is_error(line):
        return None
    form = forms.without_numbers(line)
    if form not in _seen:
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        _seen[form] = of_error(line)
    return _seen[form]


@lru_cache(maxsize=None)
def _any() -> re.Pattern[str]:
    """One expression of them all: of the hundred thousands of lines that are looked at, nearly all are none of these.

    It is made when the first error is looked at, not at the start of every rank.
    """
    return re.compile("|".join(f"(?P<s{number}>{signature.said})" for number, signature in enumerate(_ALL)))
