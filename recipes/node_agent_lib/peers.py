"""How the agents of a job learn that one of them has failed, or sees a hang: marker files in the job's directory.

torchrun with a static rendezvous does not tell: the other nodes' ranks would wait in a collective until it times out.

    .failed-N, .hung-N    of attempt N; in the job's directory, whose time the agents watch (outside.py)
    .ended-N              a byte for each agent that has ended: who adds the last one reads all records, and no other
"""

from __future__ import annotations

import os
import time
from typing import Callable

import contract

GRACE_S = 30.0  # time for the ranks here to see it themselves and say how


class Peers:
    """The other nodes of this attempt."""

    def __init__(self, job_dir: str, nnodes: int, attempt: int, say: Callable[[str], None]) -> None:
        self._marker = os.path.join(job_dir, contract.between_agents("failed", attempt))
        self._hung_marker = os.path.join(job_dir, contract.between_agents("hung", attempt))
        self._ended = os.path.join(job_dir, contract.between_agents("ended", attempt))
        self._nnodes = nnodes
        self.hung = False
        self._alone = nnodes == 1
        self._say = say
        self._seen: float | None = None

    def tell(self) -> None:
        """This node has failed."""
        self._mark(self._marker)

    def tell_hung(self) -> None:
        """The training hangs: every node is to dump its stacks, and to end."""
        self._mark(self._hung_marker)

    def have_all_ended(self) -> bool:
        """Count this node's end, and say whether it is the last. Called once, when its record is written.

        On a file system where two appends can fall on each other (NFS) it may be that none is the last one.
        """
        if self._alone:
            return True
        try:
            ended = os.open(self._ended, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            self._say(f"{self._ended}: {error.strerror}")
            return True  # better a thousand that read all records than none
        try:
            os.write(ended, b".")
            return os.fstat(ended).st_size >= self._nnodes
        except OSError as error:
            self._say(f"{self._ended}: {error.strerror}")
            return True
        finally:
            os.close(ended)

    def others_have_ended(self) -> bool:
        """Whether every node but this one has."""
        try:
            return os.stat(self._ended).st_size >= self._nnodes - 1
        except OSError:
            return self._alone

    def _mark(self, marker: str) -> None:
        if self._alone or os.path.exists(marker):
            return
        try:
            os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o644))
        except OSError as error:
            self._say(f"{marker}: {error.strerror}")

    def refresh(self) -> None:
        """Ask the file system; the answer is kept."""
        if not self._alone and not self.hung:
            self.hung = os.path.exists(self._hung_marker)
        if not self._alone and self._seen is None and os.path.exists(self._marker):
            self._seen = time.monotonic()

    @property
    def failed(self) -> bool:
        """Whether a node has failed."""
        return self._seen is not None

    @property
    def grace_is_over(self) -> bool:
        """Whether that is so long ago that this node's ranks are ended."""
        return self._seen is not None and time.monotonic() - self._seen > GRACE_S
