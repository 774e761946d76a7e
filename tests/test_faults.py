"""Faulty launches are found before they are submitted, and valid ones are let through (tests/faults/README.md).

Whatever is wrong with one, its dry run can be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from automodel_launch.checks import Finding
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults.launches import Asked, Launch, Stage
from tests.faults.rehearsed import Rehearsals

ALL, VALID = launches.faulty(), launches.valid()
REHEARSED = [launch for launch in ALL if launch.code == "rehearsal"]
FAULTY = [launch for launch in ALL if launch not in REHEARSED]
PARTS = {"automodel", "megatron-bridge", "nemo-run", "packager", "slurm", "none"}
Found = list[Finding] | LaunchError
Ask = Callable[[Launch], Asked]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return launches.share(tmp_path_factory.mktemp("launches"))


@pytest.fixture(scope="module")
def rates() -> Iterator[dict[str, list[bool]]]:
    found: dict[str, list[bool]] = {"faulty": [], "valid": []}
    yield found


@pytest.fixture(scope="module")
def asked(shared: tuple[Path, Path]) -> Ask:
    """Each launch is planned, checked and shown once."""

    @cache
    def ask(name: str) -> Asked:
        return launches.ask(by_name[name], Stage(shared[0].parent / name, *shared))

    by_name = {launch.name: launch for launch in (*ALL, *VALID)}
    return lambda launch: ask(launch.name)


def _texts(launch: Launch, found: Found, here: Path) -> list[str]:
    """Messages with their fixes, of what was to be found."""
    if isinstance(found, LaunchError):
        texts = [f"{found.message} {found.hint or ''}"] if found.exit_code == launch.exit else []
    else:
        wanted = [f for f in found if (f.code, f.level) == (launch.code, launch.level)]
        texts = [f"{finding.message} {finding.fix or ''}" for finding in wanted]
    return [text.replace(str(here), "HERE") for text in texts]


@pytest.mark.parametrize("launch", FAULTY, ids=lambda launch: launch.name)
def test_a_fault_is_found(launch: Launch, asked: Ask, shared: tuple[Path, Path], rates: dict[str, list[bool]]) -> None:
    found = asked(launch).found
    texts = _texts(launch, found, shared[0].parent / launch.name)
    rates["faulty"].append(bool(texts))
    assert texts, f"{launch.wrong}: {found}"
    others = (
        [] if isinstance(found, LaunchError) else [f for f in found if f.level == "error" and f.code != launch.code]
    )
    assert {finding.code for finding in others} == set(launch.also), others
    missing = [word for word in launch.words if not any(word in text for text in texts)]
    assert not missing, f"{missing} in none of {texts}"


@pytest.fixture(scope="module")
def rehearsals() -> Iterator[Rehearsals]:
    rehearsing = Rehearsals()
    yield rehearsing
    rehearsing.end()


@pytest.mark.parametrize("launch", REHEARSED, ids=lambda launch: launch.name)
def test_what_only_a_rehearsal_finds(
    launch: Launch, asked: Ask, shared: tuple[Path, Path], tmp_path: Path, rehearsals: Rehearsals
) -> None:
    """No check knows it, and none says anything else; AutoModel's own code refuses it."""
    found = asked(launch).found
    assert not isinstance(found, LaunchError) and not [one for one in found if one.level == "error"], found
    result = rehearsals.of(launch, Stage(tmp_path / "rehearsed", *shared))
    assert result["outcome"] == "refused", result
    missing = [word for word in launch.words if word not in f"{result['refusal']['type']}: {result['refusal']['text']}"]
    assert not missing, result["refusal"]


@pytest.mark.slow
@pytest.mark.parametrize("launch", VALID, ids=lambda launch: launch.name)
def test_a_valid_launch_is_not_refused_by_a_rehearsal(
    launch: Launch, shared: tuple[Path, Path], tmp_path: Path, rehearsals: Rehearsals
) -> None:
    if launch.part == "automodel":  # others name data, sizes or packages that a rehearsal on this machine has not
        result = rehearsals.of(launch, Stage(tmp_path / "rehearsed", *shared), cuda=True)
        assert result["outcome"] in ("passed", "partial"), result["refusal"]


@pytest.mark.parametrize("launch", VALID, ids=lambda launch: launch.name)
def test_a_valid_launch_has_no_error(launch: Launch, asked: Ask, rates: dict[str, list[bool]]) -> None:
    found = asked(launch).found
    errors = [found] if isinstance(found, LaunchError) else [f for f in found if f.level == "error"]
    rates["valid"].append(not errors)
    assert not errors, launch.right


@pytest.mark.parametrize("launch", [*ALL, *VALID], ids=lambda launch: launch.name)
def test_a_launch_can_be_shown(launch: Launch, asked: Ask) -> None:
    answer = asked(launch)
    if isinstance(answer.shown, Exception):
        raise answer.shown
    for out in answer.shown or ():
        assert max(map(len, out[: out.rindex("  script: ")].splitlines())) <= 80
    if answer.shown:
        assert answer.shown[1].endswith(f"{answer.script.splitlines()[-1]}\n")


def test_the_rates(rates: dict[str, list[bool]], capsys: pytest.CaptureFixture[str]) -> None:
    """The rates of the cases that have run before, which are all of them unless some were chosen by name."""
    found, clean = rates["faulty"], rates["valid"]
    with capsys.disabled():
        print(f"\nfaults found: {sum(found)} of {len(found)}, valid launches let through: {sum(clean)} of {len(clean)}")
    assert all(found)
    assert all(clean)


def test_there_are_enough_of_both() -> None:
    assert len(FAULTY) >= 80 and len(REHEARSED) >= 10
    assert len(VALID) >= 150


def test_every_fault_tells_what_the_real_part_did() -> None:
    for launch in ALL:
        assert launch.wrong and launch.part in PARTS and bool(launch.code) != bool(launch.exit), launch.name
        assert launch.tried.get("by") and launch.tried.get("said"), f"try_real.py has not tried {launch.name}"
