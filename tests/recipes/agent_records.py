"""Records of nodes as their agents leave them, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib.records import NodeRecord, RankRecord


def node(number: int, *ranks: RankRecord, nnodes: int = 1, **changes: Any) -> NodeRecord:
    """A node whose agent has ended."""
    record = NodeRecord("run-1", number, nnodes, 0, f"host{number}", 1, 1, started=40.0, state="ended", time=110.0)
    record.records = list(ranks)
    for name, value in changes.items():
        setattr(record, name, value)
    return record
