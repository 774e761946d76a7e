"""Values of an example that nobody has replaced: YOUR-ACCOUNT, <account>, changeme, /path/to/image."""

from __future__ import annotations

import re
from collections.abc import Iterator

from automodel_launch.executors.forms.fault import Fault

_WHOLE = re.compile(
    r"to-?do|fix-?me|tbd|x{3,}|\.{3}|\?+|placeholder|(change|replace|edit|fill)[-_ ]?(me|this|in)"
    r"|(insert|enter|put)[-_ ].*[-_ ]here",
    re.IGNORECASE,
)
_KINDS = (
    "account|allocation|project|partition|queue|qos|reservation|user|username|name|login|host|hostname|cluster|image|path|dir"
    "|directory|folder|home|group|team|org|email|address|key|id|value|nodes?"
)
_YOUR = re.compile(rf"(?<![A-Za-z0-9])your[-_ .]?({_KINDS})(?![A-Za-z0-9])", re.IGNORECASE)
_CAPITALS = re.compile(r"(?<![A-Za-z0-9])YOU(R[-_ ][A-Z_-]+)?(?![A-Za-z0-9])")
_CHANGE = re.compile(r"(?<![A-Za-z0-9])(change|replace)[-_]?me(?![A-Za-z0-9])", re.IGNORECASE)
_BRACKETS = re.compile(r"<[A-Za-z][^<>]*>")
_PATH = re.compile(r"(^|:)/?path/to(/|$)")


def faults(key: str, value: str) -> Iterator[Fault]:
    """A value that is an example's."""
    found = _WHOLE.fullmatch(value.strip()) or next(
        (match for pattern in (_BRACKETS, _CHANGE, _YOUR, _CAPITALS, _PATH) if (match := pattern.search(value))), None
    )
    if found:
        fix = f"the real value of {key}, or leave it out where the cluster needs none"
        yield Fault(key, value, f"{found[0].strip(':')!r} is an example's placeholder", fix, kind="placeholder")
