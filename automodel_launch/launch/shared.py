"""What the plans of one launch have in common (the points of a sweep): each question is asked, each file read, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")


@dataclass
class Shared:
    """Answers by what they depend on; one object for all plans that are made together."""

    answers: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, ask: Callable[[], _Answer]) -> _Answer:
        """The answer to what `key` stands for, asked where nobody has."""
        if key not in self.answers:
            self.answers[key] = ask()
        answer: _Answer = self.answers[key]
        return answer
