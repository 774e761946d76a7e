"""What a check finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing to know before submitting: an error refuses the submission, the others do not.

    `message` names the key, the value and where it came from; `fix` says what to do.
    """

    level: Level
    code: str
    message: str
    fix: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)
