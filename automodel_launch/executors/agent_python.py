"""The Python that starts the node agent: what recipes/node_agent.sh, which looks for it on a node, would find."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.remote.probes import Result

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

SHELL = "sh"  # of the node, or of the image
OLDEST = ".".join(map(str, contract.OLDEST_PYTHON))


@dataclass(frozen=True)
class Found:
    """What node_agent.sh would take there (None: nothing does), its version, and what was there and does not do."""

    python: str | None
    version: str
    seen: str


def question(program: str, profile: Profile) -> str:
    """A shell script that looks as node_agent.sh, whose text `program` is, would on a node."""
    last = profile.python if profile.container_image in (None, "none") else None  # else it is the image's
    words = " ".join(shlex.quote(word or "") for word in (profile.agent_python, last))
    return f"{SHELL} -s which {words} <<'NODE_AGENT'\n{program}\nNODE_AGENT"


def read(answer: Result) -> Found | None:
    """The answer; None where it is none."""
    first, _, seen = answer.text.partition("\n")
    match = re.fullmatch(r"(none|(\S.*) (\d[\d.]*)) ?", first)
    if answer.code or not match:
        return None
    return Found(match[2], match[3] or "", seen.strip())
