"""What a check finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """One thing to know before submitting: an error refuses the submission, the others do not.

    `message` names the key, the value and where it came from; `fix` says what to do.
    """

    level: Literal["error", "warning", "note"]
    code: str
    message: str
    fix: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)
