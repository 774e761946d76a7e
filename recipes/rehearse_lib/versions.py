"""Whether a rehearsal was tested with what this Python has: its patches name lines of these releases."""

from __future__ import annotations

import importlib.metadata

TESTED = {"nemo-automodel": ("0.7.0",), "torch": ("2.13",), "transformers": ("5.18",)}
"""Distribution -> the releases with which tests/recipes/rehearse/ has run; 2.13 stands for every 2.13.x."""


def installed() -> dict[str, str]:
    """Distribution -> version, of those that are there."""
    found = {}
    for name in TESTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def why_not(found: dict[str, str]) -> str | None:
    """Why a rehearsal would be a guess with these versions; None where it was tested with them."""
    for name, releases in TESTED.items():
        version = found.get(name)
        if version is None:
            return f"{name} is not installed in this Python"
        if not any(_is(version, release) for release in releases):
            return f"{name} is {version}, and rehearsals were tested with {' and '.join(releases)}"
    return None


def _is(version: str, release: str) -> bool:
    """Whether 2.13.0+cpu is a 2.13."""
    parts = release.split(".")
    return version.partition("+")[0].split(".")[: len(parts)] == parts
