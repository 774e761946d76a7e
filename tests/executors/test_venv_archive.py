"""`venv_archive` of a profile: what the script does with it, what is looked at before, and what is refused."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
from pathlib import Path

import pytest

from automodel_launch import executors
from automodel_launch.checks.places import slurm_venv
from automodel_launch.commands import preview_start
from automodel_launch.doctor import slurm as doctor
from automodel_launch.errors import LaunchError
from automodel_launch.executors.job_python import NotAtHand
from automodel_launch.executors.slurm import venv_archive
from automodel_launch.executors.slurm.executor import EXECUTOR
from automodel_launch.plan.plan import Plan
from automodel_launch.remote.probes import Result
from tests.workbench import Bench

ARCHIVE = "/shared/envs/train.tar.gz"
PROFILE = """[p]
executor = "slurm"
nodes = 2
gpus_per_node = 8
remote_job_dir = "/lustre/jobs"
venv_archive = "/shared/envs/train.tar.gz"
"""


def plan(bench: Bench, *keys: str, profile: str = PROFILE) -> Plan:
    bench.env(profile + "".join(f"{key}\n" for key in keys))
    return bench.plan(profile="p", environ={}, offline=True)


def test_the_script_copies_it_once_begin_has_said_that_the_job_runs(bench: Bench) -> None:
    made = plan(bench)
    script = made.script
    copied = script.index(f'if sbcast {ARCHIVE} "$venv_copy"; then')
    assert script.index(f" begin {made.job_dir}") < copied < script.index("\nsrun ")
    assert script.count("sbcast ") == 1 + script.count('echo "sbcast ')
    assert made.agent["venv_archive"] == ARCHIVE
    assert made.command[0] == f"{ARCHIVE}/bin/python", "what the dry run shows"
    assert "venv_archive" not in plan(bench, profile=PROFILE.replace("venv_archive", "#")).agent


def test_one_node_reads_the_file_itself_and_a_spare_counts(bench: Bench) -> None:
    one = PROFILE.replace("nodes = 2", "nodes = 1")
    assert "sbcast" not in plan(bench, profile=one).script
    assert "sbcast" in plan(bench, "spares = 1", profile=one).script


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('python = "/shared/venv/bin/python"', "contradicts python = /shared/venv/bin/python (env.toml [p])"),
        ('container_image = "nvcr.io/nvidia/nemo:1"', "in a container the image has the job's Python"),
    ],
)
def test_keys_that_say_another_python(bench: Bench, key: str, said: str) -> None:
    with pytest.raises(LaunchError) as refused:
        plan(bench, key)
    assert said in refused.value.message and "leave one of the two out" in (refused.value.hint or "")
    assert plan(bench, 'container_image = "none"').agent["venv_archive"] == ARCHIVE


@pytest.mark.parametrize("path", ["envs/train.tar.gz", "/a b.tar", "/a;id", "/nemo_run/a.tar", "~/a.tar"])
def test_paths_that_no_script_can_carry(bench: Bench, path: str) -> None:
    with pytest.raises(LaunchError, match="expected an absolute path on the cluster"):
        plan(bench, profile=PROFILE.replace(ARCHIVE, path))


def test_elsewhere_it_has_no_effect(bench: Bench) -> None:
    made = plan(bench, profile=f'[p]\nexecutor = "local"\nvenv_archive = "{ARCHIVE}"\n')
    assert "venv_archive" not in made.agent and made.agent["python"] != f"{ARCHIVE}/bin/python"


def test_what_would_ask_the_jobs_python_says_where_it_is(bench: Bench) -> None:
    made = plan(bench)
    found = executors.get("slurm").job_python(made)
    assert isinstance(found, NotAtHand) and ARCHIVE in found.reason
    with pytest.raises(LaunchError, match="without the node agent cannot unpack it"):
        EXECUTOR.plain(made, "files")
    command = preview_start.training_command(made)
    assert command is None or command[:2] == [f"{ARCHIVE}/bin/python", "-m"], "tools are started as modules"


def judged(bench: Bench, path: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", venv_archive.question(str(path))], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    made = plan(bench)
    found = list(slurm_venv.answered(made, {"venv": Result(done.returncode, done.stdout + done.stderr)}))  # type: ignore[arg-type]
    return found[0].message if found else ""


def test_the_file_is_looked_at_before_the_queue(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "train"
    assert judged(bench, path) == f"venv_archive = {ARCHIVE} (env.toml [p]): no such file on the login node."
    path.mkdir()
    assert "is no regular file" in judged(bench, path)
    path.rmdir()
    path.write_text("")
    assert "is empty" in judged(bench, path)
    path.write_bytes(b"PK\x03\x04" + bytes(600))
    assert "none of gzip, zstd, xz, bzip2 or tar" in judged(bench, path)
    path.write_bytes(gzip.compress(b"x"))
    assert judged(bench, path) == ""
    path.write_bytes(b"\x28\xb5\x2f\xfd....")
    assert judged(bench, path) == ""
    with tarfile.open(path, "w") as file:
        file.add(__file__, "x")
    assert judged(bench, path) == ""
    assert venv_archive.fault(Result(63, "")) == "cannot be read"
    fine = doctor._venv_archive(ARCHIVE, Result(0, "1f8b08000000\n0000000000"))
    assert (fine.level, fine.detail) == ("ok", f"in {ARCHIVE}, which each node unpacks")
    assert doctor._venv_archive(ARCHIVE, Result(61, "")).level == "FAIL"
