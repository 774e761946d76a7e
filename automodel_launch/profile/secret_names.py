"""Which names of environment variables are secrets', and which are names at all."""

from __future__ import annotations

import re

from automodel_launch.errors import ProfileError

_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_|$)", re.I)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_secret(name: str) -> bool:
    """The name of a variable whose value must not be shown: HF_TOKEN, WANDB_API_KEY; not TOKENIZERS_PARALLELISM."""
    return bool(_SECRET.search(name))


def check_name(name: str, key: str) -> None:
    """Refuse a name that a shell cannot hold: bash would drop it, or the file of secrets could not be read.

    Raises:
        ProfileError: it is not the name of a variable; `key` tells where it is set.
    """
    if not _NAME.fullmatch(name):
        raise ProfileError(f"{key}: {name!r} is not the name of a variable.", "letters, digits and _, no digit first")
