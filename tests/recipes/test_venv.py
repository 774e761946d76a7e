"""`venv_archive` on a node: unpacked, used and removed; and what the job's record says where it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import venv
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.test_node_agent import Job, MakeJob, eventually, make_job  # noqa: F401 (a fixture)

TELLS = """
import json, os, sys
import only_here
print("told", json.dumps([sys.prefix, sys.executable, os.environ["LAUNCH_VENV"], os.environ["SEEN"]]), flush=True)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a module of its own."""
    folder = tmp_path_factory.mktemp("made") / "train"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "only_here.py").write_text("")
    (site / "large.bin").write_bytes(os.urandom(200_000))
    return folder


@pytest.fixture
def job(make_job: MakeJob, tmp_path: Path, environment: Path) -> Job:  # noqa: F811
    """A job of one process whose Python is in an archive; its node's disk is a directory of the test's."""
    job = make_job("tells.py")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "tells.py").write_text(TELLS)
    job.spec["code_dir"] = str(tmp_path / "code")
    archive = tmp_path / "train.tar.gz"
    pack(archive, environment)
    disk(job).mkdir()
    job.environ["SLURM_TMPDIR"] = str(disk(job))
    job.spec.update(venv_archive=str(archive), python=f"{archive}/bin/python")
    job.spec["startup_commands"] = ['export SEEN=$("$LAUNCH_VENV/bin/python" -c "import only_here; print(7)")']
    return job


def disk(job: Job) -> Path:
    return job.home / "disk"


def pack(archive: Path, folder: Path, name: str = ".") -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(folder, name)


def error(job: Job) -> tuple[int, str]:
    """How the job has failed; nothing of it may be left on the disk, whatever happened."""
    code, said = job.run()
    assert code == job.exit["code"] != 0, said
    assert not list(disk(job).iterdir())
    assert str(job.spec["venv_archive"]) in job.exit["error"]
    return code, str(job.exit["error"])


@pytest.mark.parametrize("name", [".", "train"])
def test_the_ranks_and_the_startup_commands_have_it(job: Job, environment: Path, name: str) -> None:
    """The copy has lain there for hours: the node was a spare. What another job has left is removed."""
    pack(Path(job.spec["venv_archive"]), environment, name)
    copied, left = (disk(job) / f"launch-venv-{number}-0.archive" for number in (5, 4))
    for file in (copied, left):
        file.write_bytes(Path(job.spec["venv_archive"]).read_bytes())
        os.utime(file, (0, time.time() - 7200))
    job.environ["LAUNCH_VENV_ARCHIVE"] = str(copied)
    code, said = job.run()
    assert code == 0, said
    log = (job.dir / "logs" / "rank-0.log").read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("told ")]
    prefix, executable, given, seen = json.loads(line.removeprefix("told "))
    assert prefix == given and executable == f"{prefix}/bin/python" and seen == "7"
    assert prefix.startswith(f"{disk(job)}/launch-venv-")
    assert f"out of {copied}, in" in (job.dir / "logs" / "agent-0.log").read_text()
    assert job.lines("phases.jsonl")[0]["phase"] == "unpacking the Python on the node"
    assert not list(disk(job).iterdir()), "nothing stays on the node"


def test_two_jobs_on_one_node(job: Job, make_job: MakeJob) -> None:  # noqa: F811
    """The one that ends first leaves the other's alone, and so does one that begins (it removes what is left)."""
    waits = f"for _ in $(seq 6000); do [ ! -e {job.home}/go ] || break; sleep 0.1; done"
    job.spec["startup_commands"].append(waits)
    first = job.agent()
    eventually(lambda: list(disk(job).glob("launch-venv-*/venv/bin/python")), "the first job's Python")
    other = make_job("tells.py", name="other")
    changed = {key: job.spec[key] for key in ("venv_archive", "python", "code_dir")}
    other.spec.update(changed, startup_commands=["export SEEN=8"])
    other.environ["SLURM_TMPDIR"] = str(disk(job))
    code, said = other.run()
    assert code == 0, said
    (job.home / "go").touch()
    assert first.wait(timeout=LIMIT_S) == 0
    logs = [(each.dir / "logs" / "rank-0.log").read_text() for each in (job, other)]
    assert all("told " in log for log in logs) and not list(disk(job).iterdir())


def test_a_copy_that_is_not_slurms_is_not_taken(job: Job, tmp_path: Path) -> None:
    copied, target = tmp_path / "launch-venv-5-0.archive", tmp_path / "somebodys"
    target.write_bytes(Path(job.spec["venv_archive"]).read_bytes())
    for what, why in (("link", "it is not this job's"), ("torn", "another size"), ("none", "No such file")):
        if what == "link":
            copied.symlink_to(target)
        elif what == "torn":
            copied.write_bytes(target.read_bytes()[:-1])
        job.environ["LAUNCH_VENV_ARCHIVE"] = str(copied)
        code, said = job.run()
        assert code == 0, said
        log = (job.dir / "logs" / "agent-0.log").read_text()
        assert f"{copied}: " in log and why in log and f"reading {job.spec['venv_archive']} itself" in log
        assert target.exists() and not copied.exists()


def test_an_archive_that_is_damaged_or_gone(job: Job) -> None:
    archive = Path(job.spec["venv_archive"])
    archive.write_bytes(archive.read_bytes()[:-2000])
    code, said = error(job)
    assert code == 2 and "is damaged" in said and "gzip: stdin: unexpected end of file" in said, said
    archive.unlink()
    code, said = error(job)
    assert code == 127 and said.endswith("cannot be read on this node")


def test_an_archive_without_a_python(job: Job, tmp_path: Path) -> None:
    (tmp_path / "other" / "lib").mkdir(parents=True)
    (tmp_path / "other" / "notes.txt").write_text("")
    pack(Path(job.spec["venv_archive"]), tmp_path / "other")
    code, said = error(job)
    assert code == 2 and "has no bin/python, it holds lib, notes.txt: tar -czf" in said


@pytest.mark.parametrize("how", ["architecture", "libc", "link"])
def test_a_python_that_does_not_start_there(job: Job, tmp_path: Path, environment: Path, how: str) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", environment, copy], check=True)
    python = copy / "bin" / "python"
    python.unlink()
    if how == "architecture":
        elf = bytearray(Path(sys.executable).read_bytes()[:4096])
        elf[18:20] = (0x15).to_bytes(2, "little")  # e_machine of 64-bit PowerPC
        python.write_bytes(elf)
        wanted = f"does not start on this node ({os.uname().machine}): "
        wanted += "{0}: Exec format error"
    elif how == "libc":
        said = f"{python.name}: /lib/libc.so.6: version `GLIBC_2.99' not found"
        python.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
        wanted = "python: /lib/libc.so.6: version `GLIBC_2.99' not found"
    else:
        python.symlink_to("/opt/none/bin/python3.12")
        wanted = "its bin/python is a link to /opt/none/bin/python3.12, which this node has not; venv-pack"
    if how != "link":
        python.chmod(0o755)
    pack(Path(job.spec["venv_archive"]), copy)
    code, said = error(job)
    assert code == 127
    before, _, after = wanted.partition("{0}")
    assert before in said and after in said, said


def test_no_disk_with_room(job: Job, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Real full disks: tmpfs of 64 kB in place of all that a node has, in a mount namespace of the agent's own."""
    if os.getuid() != 0:
        pytest.skip("mounts need root")
    (job.home / "spec.json").write_text(json.dumps(job.spec))
    tests = tmp_path_factory.getbasetemp()
    small = "mount -t tmpfs none -o size=64k"
    root = Path(__file__).parents[2]  # which, with .venv in it, may lie below /tmp, too
    agent = f"{sys.executable} {root}/recipes/node_agent.py run {job.home}/spec.json"
    lines = f"""set -e
mount --bind {tests} /mnt; mount --bind {root} /srv
{small} /tmp; {small} /dev/shm
mkdir -p {tests}; mount --bind /mnt {tests}
mkdir -p {root}; mount --bind /srv {root}
{small},nr_inodes=3 {disk(job)}
{agent} >&2 || echo $?
ls {disk(job)} /dev/shm
"""
    environ = {**{name: os.environ[name] for name in ("PATH", "HOME")}, **job.environ, "NODE_AGENT_TEST": job.marker}
    done = subprocess.run(["unshare", "-m", "bash", "-c", lines], env=environ, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "/dev/shm:", f"{disk(job)}:"], done.stdout + done.stderr
    said = job.exit["error"]
    assert said.startswith(f"venv_archive {job.spec['venv_archive']}: no disk of this node takes it: "), said
    for place in (disk(job), "/tmp", "/dev/shm"):
        assert f"{place}: No space left on device" in said


def test_a_job_that_is_stopped_meanwhile(job: Job, tmp_path: Path) -> None:
    """An archive that never ends, as one of many gigabytes: the agent is no deafer than while a training runs."""
    archive = Path(job.spec["venv_archive"])
    archive.unlink()
    os.mkfifo(archive)
    opened: list[int] = []
    threading.Thread(target=lambda: opened.append(os.open(archive, os.O_WRONLY)), daemon=True).start()
    process = job.agent()
    eventually(lambda: opened and list(disk(job).glob("launch-venv-*/venv")), "tar to begin")
    assert job.node()["phase"] == "unpacking the Python on the node"
    process.terminate()
    process.communicate(timeout=LIMIT_S)
    os.close(opened[0])
    assert job.exit["state"] == "CANCELLED" and not list(disk(job).iterdir()) and not job.processes()
