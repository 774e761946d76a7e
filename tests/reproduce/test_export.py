"""--export of a job on this machine; on two nodes of a cluster: tests/slurm/test_export.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import LIMIT_S, Checkout, Main, wait_for


def _start(folder: Path, ran: Checkout, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(folder / "run")]
    environ = {**{name: value for name, value in ran.environ.items() if name != "MY_TOKEN"}, **environ}
    return subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=LIMIT_S, check=False)


def _killed(folder: Path, ran: Checkout) -> Path:
    """The directory of a job whose agent was killed."""
    command = ["bash", str(folder / "run")]
    environ = {**ran.environ, "MY_TOKEN": "hush-hush-2"}
    with subprocess.Popen(command, env=environ, cwd="/", stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        job = Path(process.stderr.readline().split(": ")[1].strip())
        wait_for((job / "nodes" / "0.json").exists)
        os.kill(json.loads((job / "nodes" / "0.json").read_text())["agent_pid"], signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 137
    return job


def test_a_job_is_exported_copied_and_started_twice(ran: Checkout, main: Main, tmp_path: Path) -> None:
    target = tmp_path / "out"
    done = main(ran, "reproduce", "second", "--name", "away", "--export", str(target))
    assert (done.returncode, done.stdout) == (0, f"bash {target}/run\n"), done.stderr
    assert not (ran.root / "runs" / "away.1").exists()
    moved = tmp_path / "there" / "moved"
    moved.parent.mkdir()
    shutil.move(target, moved)
    refused = _start(moved, ran)
    assert (refused.returncode, "MY_TOKEN is not set" in refused.stderr) == (2, True)
    assert not (moved / "runs").exists()
    for number in (1, 2):
        done = _start(moved, ran, MY_TOKEN="hush-hush-2")
        assert done.returncode == 0, done.stderr
        job = moved / "runs" / f"away.{number}"
        assert f"value {moved}/runs/away/x" in (job / "logs" / "rank-0.log").read_text()
        assert json.loads((job / "exit.json").read_text())["state"] == "COMPLETED"
    config = moved / "job" / "config.yaml"
    config.write_text(config.read_text().replace("fail_rank: -1", "fail_rank: 0").replace("code: 0", "code: 9"))
    assert _start(moved, ran, MY_TOKEN="hush-hush-2").returncode == 9
    assert "'/no/python' was not found" in _start(moved, ran, MY_TOKEN="x1", PYTHON="/no/python").stderr
    config.write_text(f"{config.read_text()}until: {tmp_path}/never\n")
    job = _killed(moved, ran)
    ended = json.loads((job / "exit.json").read_text())
    assert (ended["state"], ended["code"]) == ("FAILED", 137)
    assert "ended without a record" in ended["error"]
    texts = b"".join(path.read_bytes() for path in moved.rglob("*") if path.is_file())
    assert b"hush-hush" not in texts
    assert str(target).encode() not in texts
    spaced = tmp_path / "a b"
    shutil.move(moved, spaced)
    assert "move it to a path of letters" in _start(spaced, ran, MY_TOKEN="x1").stderr


def test_what_cannot_be_exported(ran: Checkout, main: Main, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for options, words in (
        (("--export", str(tmp_path)), "is not empty"),
        (("--export", str(tmp_path / "mine")), "cannot be made"),
        (("--export", str(tmp_path / "x"), "--dry-run"), "leave out one of them"),
        (("--export-plain", str(tmp_path / "x.sh")), "a profile on slurm"),
        (("--export-plain", str(tmp_path / "x y")), "--export-plain job.sh"),
    ):
        done = main(ran, "stub-one", *options)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
