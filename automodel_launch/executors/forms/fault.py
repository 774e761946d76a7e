"""A value in a form that nothing takes, or that means something else than it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """`key` as in env.toml (`additional_parameters.NAME`), `value` as written there, `why` it is none, `fix`."""

    key: str
    value: object
    why: str
    fix: str
    level: Literal["error", "warning", "note"] = "error"
    kind: Literal["form", "placeholder"] = "form"

    def text(self, source: str) -> str:
        """The message; `source` is where the key was set."""
        return f"{self.key} = {self.value!r} ({source}): {self.why}{'' if self.why.endswith('?') else '.'}"
