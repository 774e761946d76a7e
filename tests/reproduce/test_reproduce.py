"""`reproduce JOB`: the same once more, or a refusal that says what has changed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import executors
from automodel_launch.errors import ClusterError
from automodel_launch.executors.job_python import JobPython
from automodel_launch.jobs.records import Record
from automodel_launch.remote.filesystem import RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from automodel_launch.reproduce import again, left, same
from automodel_launch.workspace import Workspace
from tests.conftest import ROOT, Checkout, Main
from tests.docker_engine import BASE, Engine
from tests.workbench import make_bench, refused


@pytest.fixture
def kept(ran: Checkout, tmp_path: Path) -> Iterator[Path]:
    """The directory of second.1, as it was afterwards."""
    job = ran.root / "runs" / "second.1"
    shutil.copytree(job, tmp_path / "kept")
    yield job
    shutil.rmtree(job, ignore_errors=True)
    shutil.copytree(tmp_path / "kept", job)


def test_code_config_and_profile_are_those_of_the_job(ran: Checkout, main: Main) -> None:
    """Not those of the checkout, which has gone on: another line of code, another profile, no such recipe."""
    (ran.root / "recipes" / "stub_one.py").rename(ran.root / "recipes" / "gone.txt")
    try:
        done = ran.run("reproduce", "second")
    finally:
        (ran.root / "recipes" / "gone.txt").rename(ran.root / "recipes" / "stub_one.py")
    assert done.returncode == 0, done.stderr
    assert f"value {ran.root}/runs/second-again/x" in done.stdout
    told = main(ran, "diff", "second", "second-again", "--full")
    assert told.returncode == 0, told.stdout
    assert "commit" not in told.stdout
    own = "code/mine/model.py"
    assert (ran.root / "runs/second-again.1" / own).read_text() == "rate = 2\n"
    assert (ran.root / "mine" / "model.py").read_text() == "rate = 1\n"
    plan = json.loads(main(ran, "reproduce", "second", "--dry-run", "--json").stdout)
    assert (plan["run_name"], plan["profile_values"]["stop_grace"]) == ("second-again-2", 77)
    assert {(finding["level"], finding["code"]) for finding in plan["findings"]} == set()


def test_a_job_that_failed_is_resumed_by_the_command_that_status_advises(ran: Checkout, main: Main) -> None:
    failed = main(ran, "stub-one", "--name", "fails", "fail_rank=0", "code=7", env={"MY_TOKEN": "hush-hush-1"})
    assert failed.returncode == 7, failed.stderr
    advice = json.loads(main(ran, "status", "fails", "--json").stdout)["go_on"]
    assert advice.startswith("python launch.py resume fails.1, with the same code")
    assert main(ran, "resume", "fails.1", env={"MY_TOKEN": "hush-hush-1"}).returncode == 0
    assert main(ran, "attach", "fails.1").returncode == 7
    assert len(json.loads(main(ran, "status", "fails", "--json").stdout)["history"]) == 2


def test_a_directory_that_was_changed_is_refused(ran: Checkout, main: Main, kept: Path) -> None:
    (kept / "code" / "mine" / "model.py").write_text("rate = 3\n")
    (kept / "config.yaml").unlink()
    refused = main(ran, "reproduce", "second", "--dry-run")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "mine/model.py was changed" in refused.stderr
    assert "config.yaml is gone" in refused.stderr
    shutil.rmtree(kept / "code")
    assert "second.1/code is gone" in main(ran, "reproduce", "second").stderr
    shutil.rmtree(kept)
    assert main(ran, "reproduce", "second").returncode == 2
    assert not list((ran.root / "runs").glob("second-again-*"))


def test_other_packages_are_refused_and_forced(ran: Checkout, main: Main, kept: Path) -> None:
    file = kept / "environment.json"
    seen = json.loads(file.read_text())
    seen["packages"] |= {"pytest": "0.1", "left-pad": "1.0"}
    file.write_text(json.dumps(seen))
    refused = main(ran, "reproduce", "second")
    assert refused.returncode == 3
    assert "pytest 0.1, now" in refused.stderr
    assert "left-pad 1.0, now not installed" in refused.stderr
    plan = json.loads(main(ran, "reproduce", "second", "--dry-run", "--json").stdout)
    assert [(found["level"], found["code"]) for found in plan["findings"]] == [("error", "other-packages")]
    file.unlink()
    plan = json.loads(main(ran, "reproduce", "second", "--dry-run", "--json").stdout)
    assert [(found["level"], found["code"]) for found in plan["findings"]] == [("warning", "not-compared")]


def test_another_profile_and_name(ran: Checkout, main: Main) -> None:
    text = (ran.root / "env.toml").read_text()
    (ran.root / "env.toml").write_text(f'{text}[other]\nextends = "local"\nnproc_per_node = 1\n')
    try:
        plan = json.loads(
            main(ran, "reproduce", "second", "--batch", "other", "--name", "n", "--dry-run", "--json").stdout
        )
        assert (plan["run_name"], plan["profile"], plan["mode"]) == ("n", "other", "batch")
        assert "stop_grace" not in plan["profile_values"]
        assert main(ran, "reproduce", "second", "--run", "nope").returncode == 2
        (ran.root / "env.toml").write_text("")  # the job's own profile needs no env.toml
        plan = json.loads(main(ran, "reproduce", "second", "--run", "local", "--dry-run", "--json").stdout)
        assert plan["profile_values"]["stop_grace"] == 77
    finally:
        (ran.root / "env.toml").write_text(text)


def test_options_that_would_change_nothing_are_refused(ran: Checkout, main: Main) -> None:
    for option in ("--from", "--after"):
        refused = main(ran, "reproduce", "second", option, "first", "--dry-run")
        assert (refused.returncode, refused.stdout) == (2, ""), option
        assert option in refused.stderr


@pytest.mark.parametrize(
    ("now", "matter", "others"),
    [
        ({"packages": {"torch": "2.1", "x": "1"}, "depends": ["torch"]}, 0, 0),
        ({"packages": {"torch": "2.2", "x": "1"}, "depends": ["torch"]}, 1, 0),
        ({"packages": {"torch": "2.1", "x": "2"}, "depends": ["torch"]}, 0, 1),
        ({"packages": {"torch": "2.1", "x": "2"}, "depends": []}, 1, 0),
        ({"packages": {"torch": "2.1", "x": "1", "new": "1"}, "depends": []}, 0, 1),
        ({"packages": {"x": "1"}, "depends": []}, 1, 0),
        ({"packages": {"torch": "2.1", "x": "1"}, "python": "3.12.1"}, 1, 0),
    ],
)
def test_what_counts_of_packages(now: dict[str, Any], matter: int, others: int) -> None:
    before = {"python": "3.11.1", "packages": {"torch": "2.1", "x": "1"}, "nccl": None}
    found = same.changed_packages(before, {"python": "3.11.1", **now})
    assert tuple(map(len, found)) == (matter, others)


def test_what_lies_behind_a_shell_is_brought_here_whole(tmp_path: Path) -> None:
    """As over SSH; also where the job has no git/."""
    job = tmp_path / "jobs of mine" / "run.1"
    (job / "code" / "recipes").mkdir(parents=True)
    (job / "code" / "recipes" / "a.py").write_text("a = 1\n")
    (job / "config.yaml").write_text("b: 2\n")
    record = Record("run.1", "run", "r", "c", "p", "slurm", "batch", str(job), str(job.parent / "run"), "0", 1.0)
    behind = left.Left(record, RemoteFileSystem(LocalShell()), {})
    for number, git in enumerate((False, True)):
        if git:
            (job / "git").mkdir()
            (job / "git" / "commit").write_text("abc\n")
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        assert again.at_hand(behind, scratch) == scratch
        assert (scratch / "code" / "recipes" / "a.py").read_text() == "a = 1\n"
        assert (scratch / "git" / "commit").is_file() is git
    (job / "code").rename(tmp_path / "shared")  # a sweep's points have one code
    (job / "code").symlink_to(tmp_path / "shared")
    scratch = tmp_path / "scratch-2"
    scratch.mkdir()
    again.at_hand(behind, scratch)
    assert (scratch / "code" / "recipes" / "a.py").read_text() == "a = 1\n"
    (job / "code" / "secret").symlink_to("/etc/passwd")
    refused(ClusterError, lambda: again.at_hand(behind, scratch), "cannot be taken over")
    shutil.rmtree(job)
    refused(ClusterError, lambda: again.at_hand(behind, tmp_path), "cannot be read")


def test_packages_of_an_image_are_asked_in_a_container(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engine.env.items():
        monkeypatch.setenv(name, value)
    bench = make_bench(tmp_path)
    bench.env(f'[d]\nexecutor = "docker"\nnproc_per_node = 1\ngpus_per_node = 0\ncontainer_image = "{BASE}"\n')
    plan = bench.plan(profile="d")
    python = executors.get("docker").job_python(plan)
    assert isinstance(python, JobPython)
    recipes = Workspace(ROOT, ROOT / "recipes", ROOT / "configs", ROOT / "env.toml")
    found = same._now(python, ["packaging"], recipes)
    assert found is not None and found["python"] and isinstance(found["packages"], dict)
    real = python.shell.run(str(python.identity)).out.strip()
    for was, codes in ((real, []), ("sha256:" + "0" * 64, ["other-image"]), (None, [])):
        told = same._image("a.1", {"image": BASE, "image_id": was}, python)
        assert [finding.code for finding in told] == codes
    left_over = subprocess.run(["docker", "ps", "--all", "--quiet"], capture_output=True, text=True, check=True)
    assert left_over.stdout == ""
