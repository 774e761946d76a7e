"""Faulty launches are found before they are submitted, and valid ones are let through (tests/faults/README.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch.checks import Finding
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults.launches import Launch, Stage

FAULTY, VALID = launches.faulty(), launches.valid()
PARTS = {"automodel", "megatron-bridge", "nemo-run", "packager", "slurm", "none"}
Found = list[Finding] | LaunchError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return launches.share(tmp_path_factory.mktemp("launches"))


@pytest.fixture(scope="module")
def rates() -> Iterator[dict[str, list[bool]]]:
    found: dict[str, list[bool]] = {"faulty": [], "valid": []}
    yield found


def _check(launch: Launch, shared: tuple[Path, Path]) -> Found:
    return launches.check(launch, Stage(shared[0].parent / launch.name, *shared))


def _texts(launch: Launch, found: Found, here: Path) -> list[str]:
    """Messages with their fixes, of what was to be found."""
    if isinstance(found, LaunchError):
        texts = [f"{found.message} {found.hint or ''}"] if found.exit_code == launch.exit else []
    else:
        wanted = [f for f in found if (f.code, f.level) == (launch.code, launch.level)]
        texts = [f"{finding.message} {finding.fix or ''}" for finding in wanted]
    return [text.replace(str(here), "HERE") for text in texts]


@pytest.mark.parametrize("launch", FAULTY, ids=lambda launch: launch.name)
def test_a_fault_is_found(launch: Launch, shared: tuple[Path, Path], rates: dict[str, list[bool]]) -> None:
    found = _check(launch, shared)
    texts = _texts(launch, found, shared[0].parent / launch.name)
    rates["faulty"].append(bool(texts))
    assert texts, f"{launch.wrong}: {found}"
    others = (
        [] if isinstance(found, LaunchError) else [f for f in found if f.level == "error" and f.code != launch.code]
    )
    assert {finding.code for finding in others} == set(launch.also), others
    missing = [word for word in launch.words if not any(word in text for text in texts)]
    assert not missing, f"{missing} in none of {texts}"


@pytest.mark.parametrize("launch", VALID, ids=lambda launch: launch.name)
def test_a_valid_launch_has_no_error(launch: Launch, shared: tuple[Path, Path], rates: dict[str, list[bool]]) -> None:
    found = _check(launch, shared)
    errors = [found] if isinstance(found, LaunchError) else [f for f in found if f.level == "error"]
    rates["valid"].append(not errors)
    assert not errors, launch.right


def test_the_rates(rates: dict[str, list[bool]], capsys: pytest.CaptureFixture[str]) -> None:
    """The rates of the cases that have run before, which are all of them unless some were chosen by name."""
    found, clean = rates["faulty"], rates["valid"]
    with capsys.disabled():
        print(f"\nfaults found: {sum(found)} of {len(found)}, valid launches let through: {sum(clean)} of {len(clean)}")
    assert all(found)
    assert all(clean)


def test_there_are_enough_of_both() -> None:
    assert len(FAULTY) >= 80
    assert len(VALID) >= 30


def test_every_fault_tells_what_the_real_part_did() -> None:
    for launch in FAULTY:
        assert launch.wrong and launch.part in PARTS and bool(launch.code) != bool(launch.exit), launch.name
        assert launch.tried.get("by") and launch.tried.get("said"), f"try_real.py has not tried {launch.name}"
