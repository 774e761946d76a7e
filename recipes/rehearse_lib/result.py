"""What a rehearsal has found: one JSON object, the last line on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SCHEMA = 1

PASSED, REFUSED, PARTIAL, NOT_REHEARSED = "passed", "refused", "partial", "not-rehearsed"

# Reasons why a rehearsal has not seen everything.
PACKAGE = "package"  # a package that this Python lacks, or that works on a GPU only
GPU = "gpu"  # code that needs a GPU
FP8 = "fp8"  # numbers in eight bits, which a CPU does not have
HUB = "hub"  # something on the Hugging Face Hub that is not in this machine's cache
NOT_IMPLEMENTED = "not-implemented"  # an operation that fake tensors do not know
TIME = "time"
MEMORY = "memory"
SYNTHETIC_DATA = "synthetic-data"  # the data cannot be seen from here
ENVIRONMENT = "environment"  # a variable that only the job has
FORBIDDEN = "forbidden"  # it tried what a rehearsal must not do: network, commands, writing
VERSIONS = "versions"
RECIPE_CLASS = "recipe-class"
INTERNAL = "internal"  # a mistake of the rehearsal's own


def partial(reason: str, text: str, package: str | None = None) -> dict[str, Any]:
    """One entry of `partial`."""
    return {"reason": reason, "text": text, "package": package}


def make(
    *,
    refusal: Mapping[str, Any] | None = None,
    partials: Iterable[Mapping[str, Any]] = (),
    versions: Mapping[str, str],
    ranks: Iterable[int] = (),
    memory: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
    peak_bytes: int = 0,
    rehearsed: bool = True,
) -> dict[str, Any]:
    """The whole result; its outcome follows from the rest."""
    found = list({tuple(entry.items()): dict(entry) for entry in partials}.values())
    if not rehearsed:
        outcome = NOT_REHEARSED
    elif refusal is not None:
        outcome = REFUSED
    else:
        outcome = PARTIAL if found else PASSED
    return {
        "schema": SCHEMA,
        "outcome": outcome,
        "refusal": dict(refusal) if refusal is not None else None,
        "partial": found,
        "memory": dict(memory) if memory else None,
        "versions": dict(versions),
        "ranks": list(ranks),
        "seconds": dict(seconds or {}),
        "peak_bytes": peak_bytes,
    }
