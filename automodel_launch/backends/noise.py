"""What a framework is known to print that nobody waits for: a short list of each backend, which an attached run leaves
to the log file. What is on no list is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """Lines that belong together: one that `start` finds, and all behind it that `goes_on` matches in full.

    The first other line ends it, and is judged by itself; one that `last` matches in full is its last one.
    """

    start: re.Pattern[str]
    goes_on: re.Pattern[str]
    last: re.Pattern[str] | None = None


def block(start: str, goes_on: str, last: str | None = None) -> Block:
    """A block of regular expressions."""
    return Block(re.compile(start), re.compile(goes_on), None if last is None else re.compile(last))


@dataclass(frozen=True)
class Step:
    """A training step, a validation or a save as a short line: `head`, then (name, text), the weightiest first.

    `constant` are names that are shown only where they have changed, `zero` those that are left out while they are 0.
    Of WHERE, a path, the end is shown where there is no room for all of it.
    """

    head: str
    fields: tuple[tuple[str, str], ...]
    constant: frozenset[str] = frozenset()
    zero: frozenset[str] = frozenset()


WHERE = "where"
_ON_CPU = re.compile(r"no CUDA: running on the CPU; ")


def moved(what: str, checkpoint: str, path: str | None = None) -> Step:
    """A checkpoint that is saved or loaded: `saving  step 9  .../checkpoints/epoch_0_step_9`."""
    return Step("  ".join(filter(None, (what, checkpoint))), () if path is None else ((WHERE, path),))


def on_cpu(line: str) -> Step | None:
    """What recipes say where there is no GPU, without the list of what they have changed for that."""
    return Step("no CUDA: running on the CPU (what that changes is in the log)", ()) if _ON_CPU.match(line) else None


def no_step(line: str) -> Step | None:
    """Of a script of which nothing is known."""
    return None


@dataclass(frozen=True)
class Noise:
    """`lines` are found in a line, and hide it; `warnings` do so in one of Python's warnings, and hide the line of
    source below it as well. `step` reads a line of the log that is shown as a short one.
    """

    lines: tuple[re.Pattern[str], ...] = ()
    warnings: tuple[re.Pattern[str], ...] = ()
    blocks: tuple[Block, ...] = ()
    step: Callable[[str], Step | None] = field(default=no_step)


def patterns(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Regular expressions, compiled."""
    return tuple(re.compile(text) for text in texts)


# Of torchao 0.18 (its extensions for GPUs that are not there, or for another torch), torch 2.13 and transformers 5.
LIBRARIES = (
    r"^Failed to load \S*torchao\S*\.so: ",
    r"^Skipping import of cpp extensions due to incompatible torch version",
    r"torch/utils/_pytree\.py:\d+\] <enum '\w+'> is an Enum subclass and is now natively supported",
    r"^(\[transformers\] )?`(torch_dtype|use_return_dict)` is deprecated! Use ",
)
"""What libraries print as they are imported, whichever framework does that."""


def of_libraries() -> Noise:
    """For what imports them without a framework."""
    return Noise(lines=patterns(LIBRARIES))


NONE = Noise()
