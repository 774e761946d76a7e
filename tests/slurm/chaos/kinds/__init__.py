"""The kinds of faults: a function each that starts a run and strikes it. The file says where the fault lies.

A kind mends nothing: daemons, nodes, disks and programs are put right behind it. What it promises of the run:

    ends       states in which the run may stand then, for a person to `resume` it; else it has to finish by itself
    calm       the training must not notice anything: one attempt
    says_how   where it has ended, `status` has to say how to go on
    unstarted  it may be that nothing was submitted; launched once more, the run has to finish
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from tests.slurm.chaos.case import Case

FILES = ("processes", "saves", "nodes", "slurm", "queue", "files", "launchers", "people")


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    strike: Callable[[Case], None]
    ends: tuple[str, ...] = ()
    calm: bool = False
    says_how: bool = False
    unstarted: bool = False

    @property
    def about(self) -> str:
        """What happens, in a line."""
        return (self.strike.__doc__ or "").splitlines()[0]


KINDS: dict[str, Kind] = {}


def kind(
    *ends: str, calm: bool = False, says_how: bool = False, unstarted: bool = False
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Make a function a kind; its name with `-` is the kind's."""

    def _register(strike: Callable[[Case], None]) -> Callable[[Case], None]:
        name = strike.__name__.replace("_", "-")
        KINDS[name] = Kind(name, strike, ends, calm, says_how, unstarted)
        return strike

    return _register


def load() -> dict[str, Kind]:
    """Every kind by its name."""
    for name in FILES:
        import_module(f"{__name__}.{name}")
    return KINDS
