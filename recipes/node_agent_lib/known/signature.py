"""One known error: the words by which it is known, what it means, and what follows from it."""

from __future__ import annotations

from typing import NamedTuple

# `role`: where such an error stands in what has happened.
ROOT = "root"  # it begins things: nothing else that fails in the job makes a rank say this
EITHER = "either"  # it begins things, or follows from another error: it gives way to one of the same moment
CASCADE = "cascade"  # it says that something else has failed

# `restart`: what a further attempt with the same code, configuration and data comes to.
HELPS = "helps"  # on other nodes where the node is to blame
MAY = "may help"
CANNOT = "cannot help"  # certain: it would come to the same line again

ROLES = (ROOT, EITHER, CASCADE)
RESTARTS = (HELPS, MAY, CANNOT)


class Signature(NamedTuple):
    """`said` is a regular expression of the beginning of an error's message; groups in it do not capture.

    `blames_node`: the machine on which it is said is to be kept from further attempts.
    """

    id: str
    role: str
    said: str
    cause: str
    todo: str
    restart: str = MAY
    blames_node: bool = False

    @property
    def level(self) -> int:
        """How sure it is that this began things: 0 not, 1 perhaps, 2 yes, 3 by a machine's own word."""
        if self.role == CASCADE:
            return 0
        if self.role == EITHER:
            return 1
        return 3 if self.blames_node else 2
