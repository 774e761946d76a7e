"""What is secret: the names in a profile's `secrets`, and names that say so themselves."""

from __future__ import annotations

import re

_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_|$)", re.I)


def is_secret(name: str) -> bool:
    """The name of a variable whose value must not be shown: HF_TOKEN, WANDB_API_KEY; not TOKENIZERS_PARALLELISM."""
    return bool(_SECRET.search(name))
