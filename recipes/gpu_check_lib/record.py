"""node-K.json: what this node has seen so far. Replaced in one step after each phase."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import contract
from node_agent_lib.files import write_json

from gpu_check_lib.identity import Identity

SCHEMA = 1


class Record:
    """The facts, by the names under which automodel_launch/doctor/gpu/ reads them."""

    def __init__(self, identity: Identity) -> None:
        self._path = Path(identity.job_dir, contract.gpu_check_file(identity.node))
        self.facts: dict[str, Any] = {
            "schema": SCHEMA,
            "node": identity.node,
            "nodes": identity.nodes,
            "host": identity.host,
            "hosts": list(identity.hosts),
            "started": time.time(),
            "phase": "local",
        }

    def save(self, phase: str, **facts: Any) -> None:
        """Add facts and write; `phase` is the one that begins now."""
        self.facts.update(facts, phase=phase)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(str(self._path), self.facts, patience_s=5.0)
