"""Which key a failure comes from, where neither frames nor message tell: the one without which it is gone."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import leaves
from .culprit import Fails

SECONDS = 6.0  # for a better name than that of the section: nobody should wait for it much longer


def name(
    refusal: dict[str, Any], config: Mapping[str, Any], fails: Fails, clock: Callable[[], float] = time.monotonic
) -> None:
    """Put a key into the refusal of a section, or of nothing, where that key alone can be left out to mend it.

    `fails` says how a configuration fails up to the end of a stage. First the keys of the section are left out, one
    after the other; then whole other sections, some of which a job can do without. All of a kind have to be tried: of
    two numbers that do not fit together either can go, and none is named.
    """
    key = refusal.get("key")
    if refusal.get("override") or (key and not isinstance(leaves.get(config, key.split(".")), Mapping)):
        return
    end = clock() + SECONDS
    for kind in (_keys_below(config, key), _others(config, key)):
        gone = _only_one_gone(kind, config, str(refusal["stage"]), fails, lambda: clock() > end)
        if gone is None:
            return
        if gone:
            refusal["key"], refusal["key_by"] = gone, "removal"
            return


def _only_one_gone(
    keys: Iterable[str], config: Mapping[str, Any], stage: str, fails: Fails, late: Callable[[], bool]
) -> str | None:
    """The one key; "" where no key mends it; None where several do, or there was no time to try all."""
    gone = ""
    for key in keys:
        if late():
            return None
        if fails(_without(config, key), stage) is None:
            if gone:
                return None
            gone = key
    return gone


def _keys_below(config: Mapping[str, Any], section: str | None) -> Iterator[str]:
    if section is not None:
        yield from (key for key, _ in leaves.leaves(config, section) if not key.split(".")[-1].startswith("_"))


def _others(config: Mapping[str, Any], section: str | None) -> Iterator[str]:
    own = section.split(".")[0] if section else None
    yield from (str(key) for key, value in config.items() if isinstance(value, Mapping) and key != own)


def _without(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(dict(config))
    *above, last = key.split(".")
    holder: Any = made
    for part in above:
        holder = holder[part]
    del holder[last]
    return made
