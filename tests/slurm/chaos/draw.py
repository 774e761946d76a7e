"""Faults from a seed: every kind comes once before any comes again, in an order and with details that are random."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def kind(seed: int, number: int, kinds: Sequence[str]) -> str:
    """The kind of fault `number` (from 0); the same for the same seed and kinds."""
    turn, place = divmod(number, len(kinds))
    order = Random(f"{seed} turn {turn}").sample(list(kinds), len(kinds))
    return order[place]


def details(seed: int, number: int) -> Random:
    """What decides the rest of that fault: which node, at which step, how long."""
    return Random(f"{seed} fault {number}")
