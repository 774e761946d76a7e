"""Many questions in one script, also by a bash without timeout(1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch.remote import probes
from automodel_launch.remote.shell import LocalShell

NEEDED = ("bash", "cat", "date", "sleep", "head")
ASKED = {
    "ok": "echo one; echo two",
    "fails": "echo said >&2; exit 3",
    "data": "head -c 3 <&3",
    "late": "sleep 987654321 & echo begun; sleep 987654321; echo ended",
}


@pytest.fixture(params=[True, False], ids=["timeout", "no-timeout"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param and shutil.which("timeout") is None:
        pytest.skip("there is no timeout(1)")
    for name in (*NEEDED, "timeout") if request.param else NEEDED:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    yield


@pytest.mark.usefixtures("path")
def test_each_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "EACH_S", 3)  # the others need a bash, on a busy machine, too
    found = probes.run(LocalShell(), ASKED, b"datadata")
    assert (found["ok"].code, found["ok"].text) == (0, "one\ntwo")
    assert (found["fails"].code, found["fails"].text) == (3, "said")
    assert (found["data"].code, found["data"].text) == (0, "dat")
    assert found["late"].brief == "no answer within 3 s"


@pytest.mark.usefixtures("path")
def test_what_a_late_one_has_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probes, "EACH_S", 3)
    pid = tmp_path / "pid"
    probes.run(LocalShell(), {"late": f"sleep 987654321 & echo $! > {pid}; wait"})
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until whoever adopts orphans has waited for it
            os.kill(int(pid.read_text()), 0)
            probes.run(LocalShell(), {"wait": "sleep 0.1"})
