"""How the life of one node's agent can be cut short."""

from __future__ import annotations


class NodeFailure(Exception):
    """The node cannot go on; becomes the record's failure. `victim`: because of something else that failed."""

    def __init__(self, code: int, error: str, victim: bool = False, at: float | None = None) -> None:
        super().__init__(error)
        self.code = code
        self.victim = victim
        self.at = at


class Superseded(Exception):
    """A later attempt of the job has begun: nothing of this one may write any more."""


class Stopped(Exception):
    """The job was asked to stop before there was anything to stop."""
