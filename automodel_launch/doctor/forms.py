"""`doctor` on the profile's own values: what has a form that nothing takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from automodel_launch.doctor.diagnosis import Line
from automodel_launch.executors.forms import forms, options
from automodel_launch.executors.forms.fault import Fault
from automodel_launch.profile.schema import keys_of

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile


def lines(profile: Profile) -> Iterator[Line]:
    """One a value; nothing where all are fine."""
    return _lines(profile, forms.of(profile))


def unknown_options(profile: Profile, there: frozenset[str]) -> Iterator[Line]:
    """Options that are not sbatch's; `there` are those that the cluster's own sbatch names."""
    return _lines(profile, options.unknown(profile.additional_parameters, there))


def _lines(profile: Profile, faults: Iterable[Fault]) -> Iterator[Line]:
    used = keys_of(profile.executor)
    for fault in faults:
        key = fault.key.partition(".")[0]
        if key in used and fault.level != "note":
            level: Literal["FAIL", "warn"] = "FAIL" if fault.level == "error" else "warn"
            yield Line(level, key, f"{fault.key} = {fault.value!r}: {fault.why}", fault.fix)
