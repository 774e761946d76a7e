"""Jobs in containers on a real Slurm of two nodes, whose srun has a stand-in for pyxis (spank_testct.c)."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from automodel_launch import checks
from tests import images
from tests.conftest import Checkout, Main
from tests.slurm import probe
from tests.slurm.cluster import Cluster
from tests.workbench import make_bench

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

# What the probe builds: a look around inside.
LOOK = """
import os, pathlib
def seen():
    def writable(folder):
        try:
            pathlib.Path(folder, "written").touch()
        except OSError as error:
            return error.strerror
        return True
    return {
        "cwd": os.getcwd(),
        "image": pathlib.Path("/etc/image-name").read_text(),
        "job": sorted(os.listdir("/nemo_run")),
        "data": pathlib.Path("/data/file").read_text(),
        "home": os.path.ismount(os.environ["HOME"]),
        "tmp": sorted(os.listdir("/tmp")),
        "written": {name: writable(name) for name in ("/data", "/scratch", "/tmp", "/opt", "/nemo_run")},
    }
"""
ONE_PROCESS = ("run.env.nodes=1", "run.env.nproc_per_node=1")
READ_ONLY = "Read-only file system"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .sqsh with nothing of this machine in it."""
    return images.squashfs(tmp_path_factory.mktemp("image"))


@pytest.fixture
def site(tmp_path: Path, pyxis: Cluster, image: Path) -> Checkout:
    """A profile `c` of two nodes: the image, data read-only, scratch, what Python needs."""
    for name in ("data", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "file").write_text("the data")
    checkout = probe.site(tmp_path, pyxis)
    text = (checkout.root / "env.toml").read_text().replace('"none"', json.dumps(str(image)))
    mounts = [f"{tmp_path}/data:/data:ro", f"{tmp_path}/scratch:/scratch", *images.BORROWED]
    (checkout.root / "env.toml").write_text(text + f"mounts = {mounts}\n")
    (checkout.root / "inside").mkdir()
    (checkout.root / "inside" / "look.py").write_text(LOOK)
    return checkout


def test_what_two_nodes_see_inside(site: Checkout, main: Main, tmp_path: Path, pyxis: Cluster) -> None:
    (pyxis.dir / "disk" / "c1" / "of-the-node").touch()  # in the node's /tmp
    with (site.root / "env.toml").open("a") as file:
        file.write("""
env_vars = {SPACES = "a b, c:d", MANY = "x\\ny"}
env = ["FORWARDED"]
secrets = ["HF_TOKEN"]
code = ["inside"]
startup_commands = ["export FROM_STARTUP=$SPACES"]
""")
    site.environ |= {"FORWARDED": "f g", "HF_TOKEN": "s p'q"}
    names = ["SPACES", "MANY", "FORWARDED", "FROM_STARTUP", "PATH"]
    target = "target=inside/look.py:seen"
    done = main(site, "probe", "--run", "c", target, f"env={json.dumps(names)}", "hashed=[HF_TOKEN]")
    told = probe.told(done)
    seen, env = told["built"], told["env"]
    job = json.loads(main(site, "status", "last", "--json").stdout)

    assert seen["image"] == images.NAME
    assert seen["cwd"] == f"{job['job_dir']}/code"
    assert {"agent.json", "code", "config.yaml", "logs", "plan.json", "script"} <= set(seen["job"])
    assert seen["data"] == "the data"
    assert not seen["home"]
    assert "of-the-node" not in seen["tmp"]
    assert seen["written"].pop("/data") == READ_ONLY
    assert seen["written"].pop("/opt") == READ_ONLY  # pyxis's own default
    assert set(seen["written"].values()) == {True}
    assert (tmp_path / "scratch" / "written").exists()
    assert env.pop("PATH")
    assert env == {"SPACES": "a b, c:d", "MANY": "x\ny", "FORWARDED": "f g", "FROM_STARTUP": "a b, c:d"}
    assert told["sha256"]["HF_TOKEN"] == hashlib.sha256(b"s p'q").hexdigest()
    ranks = main(site, "logs", "last", "--rank", "all").stdout
    assert "[0] probe" in ranks
    assert job["state"] == "COMPLETED"


def test_options_of_the_container(site: Checkout, main: Main) -> None:
    more = ["writable=true", "mount_home=true", "workdir=/opt", "env=[PATH]"]
    options = [f"run.env.container_{text}" for text in more] + ["run.env.code=[inside]", *ONE_PROCESS]
    target = "target=/nemo_run/code/inside/look.py:seen"
    job = json.loads(main(site, "probe", "--batch", "c", "--json", target, *options).stdout)
    assert main(site, "attach", job["job_id"]).returncode == 0
    seen = probe.wait_told(Path(job["job_dir"]))["built"]
    assert seen["cwd"] == "/opt"
    assert seen["written"]["/opt"] is True
    assert seen["home"]


def test_the_exit_code_inside_is_the_commands(site: Checkout, main: Main, tmp_path: Path) -> None:
    with (site.root / "env.toml").open("a") as file:
        file.write('startup_commands = ["echo $SLURMD_NODENAME >> /scratch/started"]\n')
    done = main(site, "stub", "--run", "c", "run.env.nproc_per_node=2", "fail_rank=3", "code=7")
    assert done.returncode == 7, done.stderr
    assert "error: about to fail (rank 3 on c2)" in done.stderr
    job = json.loads(main(site, "status", "last", "--json").stdout)
    ended = json.loads(Path(job["job_dir"], "exit.json").read_text())
    assert sorted((tmp_path / "scratch" / "started").read_text().split()) == ["c1", "c2"]  # once a node
    assert ended["complete"]  # the other node's agent did not wait for torchrun until Slurm killed it


@pytest.fixture
def found(tmp_path: Path, pyxis: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Warnings and errors about a plan with further values of the profile, by their codes."""
    monkeypatch.setenv("SLURM_CONF", pyxis.env["SLURM_CONF"])
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # NeMo-Run reads it, and pytest's own raises
    bench = make_bench(tmp_path)
    bench.env(probe.PROFILE.format(python=sys.executable, root=tmp_path / "jobs").replace('"none"', '"any"'))

    def _found(**values: object) -> dict[str, str]:
        findings = checks.run(bench.plan(*(f"run.env.{key}={json.dumps(v)}" for key, v in values.items()), profile="c"))
        return {finding.code: finding.message for finding in findings if finding.level != "note"}

    return _found


def test_images_that_cannot_be_used(found: Callable[..., dict[str, str]], tmp_path: Path, image: Path) -> None:
    assert found(container_image=str(image)) == {}
    (tmp_path / "empty.sqsh").touch()
    (tmp_path / "text.sqsh").write_text("text")
    (tmp_path / "half.sqsh").write_bytes(image.read_bytes()[:100])
    faults = {"none": "no such file", "empty": "empty", "text": "squashfs", "half": "cut short"}
    for name, fault in [("", "dir"), *((f"{name}.sqsh", fault) for name, fault in faults.items())]:
        codes = found(container_image=f"{tmp_path}/{name}")
        assert set(codes) == {"bad-image"} and fault in codes["bad-image"]


def test_sources_of_mounts_that_are_not_there(found: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    codes = found(mounts=[f"{tmp_path}/no/where:/a", "/no-such-root/x:/b", "$NO_SUCH_VARIABLE:/c", "~:/d"])
    assert set(codes) == {"no-mount-source", "mount-elsewhere", "unset-variable"}
    assert f"{tmp_path} does" in codes["no-mount-source"]


@pytest.mark.parametrize(
    ("options", "words", "log"),
    [
        (
            ("run.env.container_image=reg.io/absent:1", *ONE_PROCESS),
            "returned error code: 404 Not Found (on c1); the registry has no image of that name and tag",
            "log-",
        ),
        (
            ("run.env.container_image=reg.io/unreachable:1", *ONE_PROCESS),
            "curl: (6) Could not resolve host: nosuch.invalid (image reg.io#unreachable:1, on c1); that machine cannot",
            "log-",
        ),
        (
            ("run.env.container_image=reg.io/full-disk-of-c2:1",),
            "No space left on device (image reg.io#full-disk-of-c2:1, on c2); the disk",
            "log-",
        ),
        (("run.env.mounts=[]", *ONE_PROCESS), "the node agent needs sh and a Python", "log-"),
        (("run.env.container_workdir=/nowhere", *ONE_PROCESS), "working directory /nowhere", "agent-"),
    ],
)
def test_a_container_that_cannot_be_made_is_named_at_the_end(
    site: Checkout, main: Main, options: tuple[str, ...], words: str, log: str
) -> None:
    done = main(site, "stub-one", "--run", "c", *options)
    assert done.returncode not in (0, 3, 4), done.stderr
    block = done.stderr[done.stderr.rindex("FAILED") :]
    (error,) = [line for line in block.splitlines() if line.startswith("  error: ")]
    assert words in error
    status = json.loads(main(site, "status", "last", "--json").stdout)
    assert status["log"].startswith(f"logs/{log}")
    said = main(site, "logs", "last")
    assert said.returncode == 0 and said.stdout == Path(status["job_dir"], status["log"]).read_text()
    assert f"no rank has logged; this is {status['job_dir']}/{status['log']}" in said.stderr


def test_a_mount_that_one_node_lacks_is_named_with_the_node(site: Checkout, main: Main, pyxis: Cluster) -> None:
    (pyxis.dir / "disk" / "c1" / "only-here").mkdir(exist_ok=True)  # in the node's own /tmp
    done = main(
        site,
        "stub-one",
        "--run",
        "c",
        "--force",
        f"run.env.mounts={json.dumps(['/tmp/only-here:/x', *images.BORROWED])}",
    )
    assert "source path does not exist: /tmp/only-here (on c2); `mounts` names a path that is not there" in done.stderr


def test_a_python_that_the_login_shell_hides_is_named(site: Checkout, main: Main, tmp_path: Path) -> None:
    """As in an image of Debian's whose Dockerfile has put a virtual environment on PATH."""
    root = images.skeleton(tmp_path / "debian")
    (root / "opt" / "venv" / "bin").mkdir(parents=True)
    (root / "opt" / "venv" / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (root / "opt" / "venv" / "bin" / "python3").chmod(0o755)
    (root / "etc" / "environment").write_text("PATH=/opt/venv/bin:/usr/bin:/bin\n")
    (root / "etc" / "profile").write_text("PATH=/usr/local/bin:/usr/bin:/bin\nexport PATH\n")
    recipe = site.root / "recipes" / "stub_one.py"
    recipe.write_text(recipe.read_text().replace("import yaml\n", "import torchgen, yaml\n"))  # comes with torch
    options = (f"run.env.container_image={root}", "run.env.python=python3", *ONE_PROCESS)
    done = main(site, "stub-one", "--run", "c", *options, "--force")
    assert done.returncode not in (0, 3, 4), done.stderr
    assert "No module named" in done.stderr
    assert 'a login shell in the container has set PATH anew: python = "/opt/venv/bin/python3"' in done.stderr
    for way in ("run.env.python=/opt/venv/bin/python3", "run.env.startup_commands=[export PATH=/opt/venv/bin:$PATH]"):
        done = main(site, "stub-one", "--run", "c", *options, way, "--force")
        assert done.returncode == 0, done.stderr


def test_a_command_beside_the_job_is_in_a_container_of_its_image(site: Checkout, tmp_path: Path) -> None:
    begun = site.json("probe", "--batch", "c", "until=/scratch/end", *ONE_PROCESS)
    probe.wait_told(Path(begun["job_dir"]))
    try:
        done = site.run("exec", "last", "--", "sh", "-c", "cat /etc/image-name; pwd; echo $LAUNCH_RUN_NAME")
        stacks = site.json("stacks", "last")["stacks"]
    finally:
        (tmp_path / "scratch" / "end").touch()
    assert done.returncode == 0, done.stderr
    assert "further container of the job's image" in done.stderr
    assert done.stdout.startswith(images.NAME)
    assert done.stdout.splitlines()[-2:] == ["/nemo_run/code", site.json("status")["run_name"]]
    assert stacks[0]["ranks"] == [0]
