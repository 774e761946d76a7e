"""The job's code on a node's own disk: what is copied, where to, what is left, and what ranks still open."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.test_node_agent import Job, MakeJob, make_job  # noqa: F401 (a fixture)

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import code_archive, code_copy, code_names, node_disk
from node_agent_lib.spec import load

ROOT = Path(__file__).resolve().parents[2]
SHARED_MEMORY = "/dev/shm"
OPENED = """
import os, sys
code, told = os.environ.get("OPENS_OF"), os.environ.get("OPENS_TO")
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(code):
        who = "rank" if "worker" in sys.argv or "RANK" in os.environ else "agent"
        os.write(to, f"{who} {arguments[0]}\\n".encode())
if code and told:
    to = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sys.addaudithook(hook)
"""
FAILS = """
import sys, warnings
from helper import deep
warnings.warn("from the script")
print("tell", __name__, __file__, deep.__file__, flush=True)
deep.fail()
"""
DEEP = "def fail():\n    raise ValueError('too deep')\n"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the tests' own."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        if Path(folder).stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
            pytest.skip(f"{SHARED_MEMORY} is no file system of its own here")
        yield Path(folder)


@pytest.fixture
def job(make_job: MakeJob, elsewhere: Path) -> Job:  # noqa: F811
    """A job of one process whose script fails in a module of its own; its TMPDIR is on another file system."""
    job = make_job("recipes/fails.py")
    write(job, "recipes/fails.py", FAILS)
    write(job, "recipes/helper/__init__.py", "")
    write(job, "recipes/helper/deep.py", DEEP)
    for name in ("contract.py", "data_identity.py", "secret_rules.py", "node_agent.py"):
        shutil.copy(ROOT / "recipes" / name, job.dir / "code" / "recipes")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "recipes" / "node_agent_lib", job.dir / "code/recipes/node_agent_lib", ignore=skipped)
    job.spec["code_dir"] = str(job.dir / "code")
    plan(job)
    job.environ["TMPDIR"] = str(elsewhere)
    return job


def write(job: Job, name: str, text: str) -> Path:
    path = job.dir / "code" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def plan(job: Job) -> None:
    """plan.json, as far as it is read: all that lies in code/ now has travelled."""
    files = [{"path": str(path.relative_to(job.dir))} for path in (job.dir / "code").rglob("*") if path.is_file()]
    (job.dir / "plan.json").write_text(json.dumps({"files": files}))


def made(job: Job, attempt: int = 0) -> tuple[code_copy.Copy | None, list[str]]:
    said: list[str] = []
    path = job.home / "spec.json"
    path.write_text(json.dumps(job.spec))
    return code_copy.make(load(str(path)), attempt, job.environ, said.append), said


def names(archive: str) -> set[str]:
    with tarfile.open(archive) as file:
        return set(file.getnames())


def test_the_ranks_open_nothing_of_the_jobs_code(job: Job, tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OPENED)
    opens = tmp_path / "opens"
    counting = {"OPENS_OF": job.spec["code_dir"], "OPENS_TO": str(opens), "PYTHONPATH": str(tmp_path / "site")}
    job.environ.update(counting)
    # by hand, as the executor would: the agent's own program lies in code/, too
    (job.home / "spec.json").write_text(json.dumps(job.spec))

    def run() -> tuple[int, list[str]]:
        opens.unlink(missing_ok=True)
        agent = [sys.executable, f"{job.spec['code_dir']}/recipes/node_agent.py", "run", str(job.home / "spec.json")]
        environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            **job.environ,
            "NODE_AGENT_TEST": job.marker,
        }
        done = subprocess.run(agent, env=environ, capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, [line for line in opens.read_text().splitlines() if line.startswith("rank ")]

    code, without = run()
    assert code == 1 and len(without) > 20, "a rank opens files of code/ one by one"
    trace = job.exit["traceback"]
    shutil.rmtree(job.dir / "nodes")
    (job.dir / "exit.json").unlink()
    (job.dir / "logs" / "rank-0.log").unlink()
    code_archive.write(str(job.dir), 0, print)

    code, opened = run()
    assert code == 1
    # at the end the traceback's own lines are read, from the files that a person knows
    assert {line.split()[1] for line in opened} <= {
        f"{job.spec['code_dir']}/recipes/{name}" for name in ("fails.py", "helper/deep.py")
    }
    said = (job.dir / "logs" / "rank-0.log").read_text()
    assert job.exit["traceback"] == trace
    assert f'File "{job.spec["code_dir"]}/recipes/helper/deep.py", line 2, in fail\n    raise ValueError' in trace
    assert f"{job.spec['code_dir']}/recipes/fails.py:4: UserWarning: from the script" in said
    assert said.count(str(elsewhere)) == 2, "`__file__` alone is the copy's"
    assert [line["phase"] for line in job.lines("phases.jsonl")] == [code_copy.PHASE]
    assert not list(elsewhere.iterdir()), "the copy is gone at the end"


def test_what_has_travelled_is_copied_as_it_is_now(job: Job, elsewhere: Path) -> None:
    script = write(job, "my models/ünïcode.sh", "#!/bin/sh\n")
    script.chmod(0o755)
    plan(job)
    write(job, "my models/added.py", "A = 1\n")
    write(job, "my models/notes.txt", "no module")
    write(job, "wandb/run/huge.py", "what a training leaves in its working directory")
    write(job, "recipes/__pycache__/fails.cpython-311.py", "")
    code_archive.write(str(job.dir), 0, print)
    edited = write(job, "recipes/fails.py", "mended = True\n")
    code_archive.write(str(job.dir), 1, print)
    assert [path.name for path in job.dir.glob(".code-*")] == [".code-1"], "one archive, the attempt's own"
    copy, said = made(job, 1)
    assert copy is not None and said[0].startswith("the ranks import the code from ")
    found = {str(path.relative_to(copy.code)) for path in Path(copy.code).rglob("*") if path.is_file()}
    assert {"recipes/fails.py", "my models/ünïcode.sh", "my models/added.py", "recipes/contract.py"} <= found
    assert not found & {"my models/notes.txt", "wandb/run/huge.py", "recipes/__pycache__/fails.cpython-311.py"}
    assert Path(copy.code, "recipes", "fails.py").read_text() == edited.read_text()
    assert os.access(Path(copy.code, "my models", "ünïcode.sh"), os.X_OK)
    assert Path(copy.folder.path).stat().st_mode & 0o077 == 0
    assert made(job, 0) == (None, []), "another attempt has none, and reads code/ itself"
    copy.remove()
    assert not list(elsewhere.iterdir())
    code_archive.forget(str(job.dir))
    assert not list(job.dir.glob(".code-*"))


def test_a_disk_that_does_not_take_the_copy(job: Job, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_archive.write(str(job.dir), 0, print)
    here = str(job.dir)
    monkeypatch.setattr(node_disk, "places", lambda environ: iter([here, "/none/at/all", "/proc", str(elsewhere)]))
    copy, said = made(job)
    assert copy is not None and copy.folder.path.startswith(str(elsewhere)), said
    copy.remove()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(code_copy, "_extract", full)
    copy, said = made(job)
    assert copy is None
    assert "each rank reads" in said[0] and "same file system as the job's directory" in said[0]
    assert "/none/at/all: No such file" in said[0] and "No space left on device" in said[0]
    assert not list(elsewhere.iterdir()), "half a copy does not stay"


def test_network_file_systems_are_no_nodes_disk(job: Job, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = elsewhere.stat().st_dev
    mounts = job.home / "mounts"
    monkeypatch.setattr(node_disk, "_MOUNTS", str(mounts))
    number = f"{os.major(device)}:{os.minor(device)}"
    for kind, fits in {"nfs4": False, "lustre": False, "fuse.sshfs": False, "tmpfs": True, "xfs": True}.items():
        mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n22 1 {number} / /a rw shared:1 - {kind} server:/a rw\n")
        assert (code_copy._unfit(str(elsewhere), str(job.dir)) is None) is fits, kind
    mounts.unlink()
    assert code_copy._unfit(str(elsewhere), str(job.dir)) is None, "a system that does not tell"


@pytest.mark.parametrize("how", ["torn", "no archive", "link", "outside"])
def test_an_archive_that_is_none(job: Job, how: str, elsewhere: Path) -> None:
    code_archive.write(str(job.dir), 0, print)
    path = Path(code_archive.path_of(str(job.dir), 0))
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-2000])
    elif how == "no archive":
        path.write_text("{}")
    else:
        member = tarfile.TarInfo("code/../../x" if how == "outside" else "code/x")
        member.type, member.linkname = (tarfile.SYMTYPE, "/etc/passwd") if how == "link" else (tarfile.REGTYPE, "")
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(member)
    job.environ["SLURM_TMPDIR"] = str(elsewhere)
    copy, said = made(job)
    assert copy is None and "each rank reads" in said[0]
    assert not list(elsewhere.iterdir())


def test_a_library_of_the_users_needs_a_place_that_runs_it(job: Job, elsewhere: Path) -> None:
    write(job, "ops/fast.so.1", "x")
    plan(job)
    code_archive.write(str(job.dir), 0, print)
    with (
        tarfile.open(code_archive.path_of(str(job.dir), 0)) as archive,
        pytest.raises(code_copy._NoExec, match=r"fast"),
    ):
        code_copy._extract(archive, str(elsewhere), noexec=True)


def test_copies_of_killed_agents_go(job: Job, elsewhere: Path) -> None:
    code_archive.write(str(job.dir), 0, print)
    used, _ = made(job)
    left, _ = made(job)
    assert used is not None and left is not None
    fcntl.flock(left.folder.lock, fcntl.LOCK_UN)
    being_made = elsewhere / "launch-code-now"
    being_made.mkdir()
    old = elsewhere / "launch-code-old"
    old.mkdir()
    os.utime(old, (1, 1))
    somebodys = elsewhere / "other"
    somebodys.mkdir()
    archive = elsewhere / "launch-venv-7-0.archive"
    archive.write_text("of a job whose agent has not begun")
    archive_left = elsewhere / "launch-venv-6-0.archive"
    archive_left.write_text("of one that was cancelled")
    os.utime(archive_left, (1, 1))
    node_disk.remove_left(str(elsewhere))
    stay = {Path(used.folder.path).name, "launch-code-now", archive.name, "other"}
    assert {path.name for path in elsewhere.iterdir()} == stay
    used.remove()


def test_a_plan_that_cannot_be_read_packs_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    bad: list[dict[str, Any] | str] = ["not json", {"files": [{"no": "path"}]}, {}]
    for text in bad:
        (tmp_path / "plan.json").write_text(text if isinstance(text, str) else json.dumps(text))
        code_archive.write(str(tmp_path), 0, said.append)
    assert len(said) == 3 and all("each rank reads" in line for line in said)
    assert not list(tmp_path.glob(".code-*"))


def test_names_stay_where_they_are_not_of_the_copy(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy-2").mkdir()
    for folder in ("copy", "copy-2"):
        (tmp_path / folder / "x.py").write_text("def f(): return lambda: 1\n")
    made = code_names.compiled(str(tmp_path / "copy" / "x.py"), str(tmp_path / "copy"), "/jobs/1/code")
    inner = next(each for each in made.co_consts if hasattr(each, "co_consts"))
    deepest = next(each for each in inner.co_consts if hasattr(each, "co_consts"))
    assert {made.co_filename, inner.co_filename, deepest.co_filename} == {"/jobs/1/code/x.py"}
    other = str(tmp_path / "copy-2" / "x.py")
    assert code_names.compiled(other, str(tmp_path / "copy"), "/jobs/1/code").co_filename == other


USES = """
from __future__ import annotations
import atexit, dataclasses, faulthandler, importlib, inspect, json
import multiprocessing, os, pickle, subprocess, sys
from helper import deep

@dataclasses.dataclass
class Point:
    x: int = 1

def square(x):
    return x * x

if __name__ == "__main__":
    told = {
        "pickled": pickle.loads(pickle.dumps(Point(3))).x,
        "spawned": multiprocessing.get_context("spawn").Pool(1).map(square, [3]),
        "forked": multiprocessing.get_context("fork").Pool(1).map(square, [4]),
        "source": inspect.getsource(square).strip().splitlines()[0],
        "class": inspect.getsource(Point).splitlines()[1],
        "deep": inspect.getsourcefile(deep.fail),
        "reloaded": importlib.reload(deep) is deep,
        "frame": inspect.currentframe().f_code.co_filename,
        "child": subprocess.run([sys.executable, sys.argv[0], "child"], capture_output=True, text=True).stdout
        if len(sys.argv) < 2 else None,
        "beside": os.path.exists(os.path.join(os.path.dirname(__file__), "helper", "deep.py")),
        "cwd": os.getcwd(),
    }
    atexit.register(lambda: print("at the end", Point().x, flush=True))
    print("told", json.dumps(told), flush=True)
    faulthandler.dump_traceback()
"""


def test_what_scripts_do_with_their_own_files(job: Job) -> None:
    script = write(job, "recipes/fails.py", USES)
    plan(job)
    code_archive.write(str(job.dir), 0, print)
    code, said = job.run()
    log = (job.dir / "logs" / "rank-0.log").read_text()
    assert code == 0, said + log
    (line,) = [line for line in log.splitlines() if line.startswith("told ")]
    told = json.loads(line.removeprefix("told "))
    assert (told["pickled"], told["spawned"], told["forked"], told["reloaded"], told["beside"]) == (
        3,
        [9],
        [16],
        True,
        True,
    )
    assert (told["source"], told["class"]) == ("def square(x):", "class Point:")
    assert (told["deep"], told["frame"]) == (str(script.parent / "helper" / "deep.py"), str(script))
    assert '"spawned": [9]' in told["child"], "started by hand it is a script like any other"
    assert told["cwd"] == job.spec["code_dir"], "where a training writes to stays the job's directory"
    assert "at the end 1" in log and f'File "{script}", line' in log
