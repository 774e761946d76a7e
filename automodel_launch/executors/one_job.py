"""The order of the jobs of an experiment of NeMo-Run that has one: networkx, which it asks, takes longer to import than
all else of a submission. Its names, as far as nemo_run.run.experiment (0.11.1) uses them.
"""

from __future__ import annotations

from typing import Any


class DiGraph:
    """A graph that takes one node."""

    def __init__(self) -> None:
        self.node: str | None = None

    def add_node(self, name: str, **_: Any) -> None:
        """The one.

        Raises:
            NotImplementedError: it is a second one.
        """
        if self.node is not None:
            raise NotImplementedError("this experiment has more than one job")
        self.node = name


def is_directed_acyclic_graph(graph: DiGraph) -> bool:
    """It has no edge."""
    return True


def topological_generations(graph: DiGraph) -> list[list[str]]:
    """One, of one."""
    return [] if graph.node is None else [[graph.node]]
