"""Which names of environment variables are secrets', and which are names at all."""

from __future__ import annotations

import re

from automodel_launch.errors import ProfileError
from automodel_launch.secret_rules import is_secret_name as is_secret

__all__ = ["check_name", "is_secret"]  # the rule for secrets' names is the contract's: the node agent has it, too

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(name: str, key: str) -> None:
    """Refuse a name that a shell cannot hold: bash would drop it, or the file of secrets could not be read.

    Raises:
        ProfileError: it is not the name of a variable; `key` tells where it is set.
    """
    if not _NAME.fullmatch(name):
        raise ProfileError(f"{key}: {name!r} is not the name of a variable.", "letters, digits and _, no digit first")
