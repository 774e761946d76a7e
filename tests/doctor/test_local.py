"""`doctor` for this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from automodel_launch import workspace
from automodel_launch.commands import main
from automodel_launch.doctor import diagnosis, left_locks, local
from automodel_launch.doctor.diagnosis import Line
from automodel_launch.plan import recipes
from automodel_launch.remote.disk import Disk
from tests.conftest import Checkout
from tests.workbench import Bench, make_bench

GIB = 2**30


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _python(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def _lines(root: Path, python: str, processes: int = 2, gpus: int | None = None) -> dict[str, Line]:
    return {line.what: line for line in local.lines(str(root), python, processes, gpus)}


def test_a_machine_that_can_train(tmp_path: Path) -> None:
    python = _python(tmp_path, "echo 3.12.1; echo torch 2.9; echo nemo_automodel 0.7.0")
    lines = _lines(tmp_path / "jobs", python)
    assert [line.level for line in lines.values() if line.what in ("python", "torch", "nemo_automodel")] == ["ok"] * 3
    assert lines["torch"].detail == "2.9"
    assert lines["job root"].level == "ok"
    assert not (tmp_path / "jobs").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_packages_that_are_missing(tmp_path: Path) -> None:
    lines = _lines(tmp_path, _python(tmp_path, "echo 3.12.1; echo torch; echo nemo_automodel"))
    assert (lines["torch"].level, lines["nemo_automodel"].level) == ("FAIL", "FAIL")
    assert lines["torch"].fix


def test_one_framework_is_enough(tmp_path: Path) -> None:
    """Those of AutoModel and of Megatron-Bridge need other releases of transformers."""
    lines = _lines(
        tmp_path, _python(tmp_path, "echo 3.12.1; echo torch 2.9; echo nemo_automodel; echo megatron.bridge 1")
    )
    assert "nemo_automodel" not in lines
    assert lines["megatron.bridge"].level == "ok"


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    lines = _lines(tmp_path, _python(tmp_path, "echo 3.6.8"))
    assert lines["python"].level == "FAIL" and "3.6.8" in lines["python"].detail and "3.10" in lines["python"].detail
    assert "torch" not in lines


def test_the_oldest_python_is_that_of_the_recipes(bench: Bench) -> None:
    own = [recipe.oldest_python for recipe in recipes.available(workspace.find(None))]
    assert own and {diagnosis.OLDEST_PYTHON} == set(own)


@pytest.mark.parametrize("text", ["exit 3", "echo no python", "echo oops >&2; exit 1"])
def test_a_python_that_does_not_work(tmp_path: Path, text: str) -> None:
    lines = _lines(tmp_path, _python(tmp_path, text))
    assert lines["python"].level == "FAIL"
    assert "torch" not in lines
    assert _lines(tmp_path, str(tmp_path / "none"))["python"].level == "FAIL"


def test_the_probe_imports_nothing() -> None:
    code, text = local._probe(sys.executable)
    assert code == 0
    assert text.split()[0] == sys.version.split()[0]
    assert "import torch" not in diagnosis.PROBE


@pytest.mark.parametrize(
    ("present", "processes", "wanted", "level"),
    [(0, 2, None, "ok"), (8, 8, 8, "ok"), (8, 2, None, "ok"), (1, 2, None, "FAIL"), (0, 2, 8, "FAIL")],
)
def test_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: int, processes: int, wanted: int | None, level: str
) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: present)
    assert _lines(tmp_path, "/none", processes, wanted)["GPUs"].level == level


@pytest.mark.parametrize(
    ("free", "inodes", "levels"),
    [
        (900 * GIB, 10**7, ["ok", "ok", "ok"]),
        (20 * GIB, 10**7, ["ok", "warn", "ok"]),
        (GIB // 2, 10**7, ["ok", "FAIL", "ok"]),
        (900 * GIB, 5_000, ["ok", "ok", "warn"]),
        (900 * GIB, 3, ["ok", "ok", "FAIL"]),
        (None, None, ["ok", "not checked", "not checked"]),
    ],
)
def test_room(free: int | None, inodes: int | None, levels: list[str]) -> None:
    assert [line.level for line in diagnosis.job_root(Disk("/a", "/a", None, free, inodes))] == levels


def test_a_job_root_in_memory_is_said() -> None:
    line = next(diagnosis.job_root(Disk("/a", "/a", None, GIB, 10**7, "tmpfs")))
    assert (line.level, "tmpfs" in line.detail) == ("warn", True)


def test_the_command(checkout: Checkout) -> None:
    document = checkout.json("doctor", "local")
    assert (document["profile"], document["executor"]) == ("local", "local")
    assert {"python", "job root", "GPUs"} <= {line["what"] for line in document["lines"]}
    assert all(set(line) == {"level", "what", "detail", "fix"} for line in document["lines"])
    assert not (checkout.root / "runs").exists()


def test_its_exit_code_and_table(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = _python(tmp_path, "echo 3.12.1; echo torch 2.9; echo nemo_automodel 0.7.0")
    bench.env(f'[good]\nextends = "local"\npython = "{python}"\n[bad]\nextends = "local"\npython = "/none"\n')
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 0)
    environment = ["--env", str(bench.workspace.env_file)]
    assert main.main(["doctor", "good", *environment]) == 0
    assert "\033" not in capsys.readouterr().out
    assert main.main(["doctor", "bad", *environment]) == 3
    out = capsys.readouterr().out
    assert "FAIL  python" in out
    assert "fix: " in out
    assert main.main(["doctor", "bad", "--json", *environment]) == 3
    assert json.loads(capsys.readouterr().out)["profile"] == "bad"


def test_a_profile_that_is_none(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor", "locl", "--env", str(bench.workspace.env_file)]) == 2
    assert "'local'" in capsys.readouterr().err
    assert main.main(["doctor"]) == 2


def test_a_lock_that_a_killed_build_has_left_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "ext ensions"))
    lock = tmp_path / "ext ensions" / "py311_cu121" / "fused" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert "locks" not in _lines(tmp_path, "/none") or str(lock) not in _lines(tmp_path, "/none")["locks"].detail, "new"
    os.utime(lock, (1, 1))
    line = _lines(tmp_path, "/none")["locks"]
    assert (line.level, line.fix) == ("warn", f"rm '{lock}'")
    with lock.open():
        assert "locks" not in _lines(tmp_path, "/none"), "a process has it open"


def test_what_the_shell_says_is_no_lock_to_be_removed() -> None:
    talk = "shell-init: error retrieving current directory: getcwd\nbash: warning: setlocale: LC_ALL: cannot change\n"
    assert list(left_locks.lines(talk)) == []
    (line,) = left_locks.lines(f"{talk}/home/a b/.cache/torch_extensions/x/lock\n")
    assert line.fix == "rm '/home/a b/.cache/torch_extensions/x/lock'"
