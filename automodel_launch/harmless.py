"""Text from elsewhere, for a terminal: nothing in it moves the cursor, renames the window or hides what was said."""

from __future__ import annotations

import re
import unicodedata

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def harmless(text: str, colour: bool = False) -> str:
    """The text with control characters as escapes. With `colour`, sequences that only colour stay as they are."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    if colour:
        return "".join(part if _COLOUR.fullmatch(part) else harmless(part) for part in _COLOUR.split(text))
    return "".join(char if _shows(char) else char.encode("unicode_escape").decode() for char in text)


def _shows(char: str) -> bool:
    return char in "\n\t" or char.isprintable() or unicodedata.category(char) == "Zs"
