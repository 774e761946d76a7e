"""What was found wrong, under five headings, and the summary of a session."""

from __future__ import annotations

from dataclasses import dataclass, field

LOST = "lost"  # a job that nobody knows, one too many, or a run that did not go on to its end
LIE = "lie"  # a state that is false for more than two polls, a contradiction, a command that crashes or hangs
LEAK = "leak"  # the secret where it must not be
ORPHAN = "orphan"  # a process that outlived its job or its command
WRONG = "wrong loss"  # other losses than the undisturbed run's, or steps trained again beyond the last checkpoint
BROKEN = "error of this script"
HEADINGS = {LOST: "lost", LIE: "lies", LEAK: "leaks", ORPHAN: "orphans", WRONG: "wrong losses"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `what` says what was seen, and what should have been."""

    heading: str
    what: str


@dataclass
class Tally:
    """The faults of a session, each with what was found after it."""

    seed: int
    faults: list[tuple[int, str, list[Finding]]] = field(default_factory=list)

    def add(self, number: int, kind: str, found: list[Finding]) -> None:
        """Note a fault that is over."""
        self.faults.append((number, kind, found))

    def count(self, heading: str) -> int:
        """How many were found under that heading."""
        return sum(finding.heading == heading for _, _, found in self.faults for finding in found)

    @property
    def clean(self) -> bool:
        """There were faults, and nothing was found."""
        return bool(self.faults) and not any(found for _, _, found in self.faults)

    def summary(self, minutes: float) -> str:
        """The session in one line."""
        kinds = len({kind for _, kind, _ in self.faults})
        found = ", ".join(f"{self.count(heading)} {word}" for heading, word in HEADINGS.items())
        broken = self.count(BROKEN)
        more = f", {broken} errors of this script" if broken else ""
        return f"{len(self.faults)} faults of {kinds} kinds, seed {self.seed}, {minutes:.0f} minutes: {found}{more}"
