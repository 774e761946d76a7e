"""Regular expressions that are compiled when they are first used.

Most of the agent's are for what seldom happens, and compiling all of them would be a tenth of its start.
"""

from __future__ import annotations

import re
from typing import Any, Pattern, cast, overload


@overload
def pattern(text: str, flags: int = 0) -> Pattern[str]: ...
@overload
def pattern(text: bytes, flags: int = 0) -> Pattern[bytes]: ...
def pattern(text: Any, flags: int = 0) -> Pattern[Any]:
    """As re.compile, later; what it returns has a pattern's methods, and `re`'s own functions do not take it."""
    return cast("Pattern[Any]", _Later(text, flags))


class _Later:
    def __init__(self, text: Any, flags: int) -> None:
        self._made = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._made), name)
        setattr(self, name, found)
        return found
