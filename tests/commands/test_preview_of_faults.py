"""Whatever is wrong with a launch, its dry run can be shown: every one of tests/faults, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.commands import preview
from automodel_launch.commands.preview import View
from automodel_launch.errors import LaunchError
from tests.faults import launches
from tests.faults.launches import Launch, Stage


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return launches.share(tmp_path_factory.mktemp("launches"))


@pytest.mark.parametrize("launch", [*launches.faulty(), *launches.valid()], ids=lambda launch: launch.name)
def test_a_launch_can_be_shown(
    launch: Launch, shared: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stage = Stage(shared[0].parent / launch.name, *shared)
    launches.set_up(launch, stage)
    with launches.shell(launch, stage):
        try:
            plan = launches.plan(launch, stage)
        except LaunchError:
            return
        findings = checks.run(plan, offline=True)
        for view in (View(offline=True), View(full=True)):
            preview.show(plan, findings, view)
            out = capsys.readouterr().out
            assert max(map(len, out[: out.rindex("  script: ")].splitlines())) <= 80
            assert out.removesuffix("\n").endswith(plan.script.splitlines()[-1] if view.full else "")
