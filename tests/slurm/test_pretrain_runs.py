"""The tiny pretraining run on two nodes of a real Slurm, bare and in containers: its losses are a local run's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests import images
from tests.conftest import Checkout, TinyCorpus, make_checkout
from tests.launch.test_train_tiny import SMALL
from tests.recipes import pretrain_fixtures
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.conftest import serve
from tests.slurm.sshd import SshServer
from tests.slurm.test_ssh import client

# What the first test of the file makes for the others, two trainings and their data, counts as its own time.
pytestmark = [pytest.mark.slurm, pytest.mark.train, pytest.mark.e2e, pytest.mark.timeout(900)]

ENV = """
[test2]
executor = "slurm"
partition = "batch"
nodes = 2
gpus_per_node = 8
nproc_per_node = 1
cpus_per_task = 4
time = "00:15:00"
rehearse = "off"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}/slurm"
data_dir = "{data}"

[test2.env_vars]
OMP_NUM_THREADS = "1"

[laptop]
extends = "test2"
tunnel = "ssh"
host = "login"
"""
COMMAND = ("pretrain", "-c", "tiny", *SMALL, "step_scheduler.max_steps=6")
EVALUATED = ("step_scheduler.ckpt_every_steps=6", "run.env.on_checkpoint=evaluate", 'run.env.secrets=["A_SECRET"]')
VALUE = "do-not-show-this"
TRAINS_S = 600
"""A limit on a training, which takes half a minute where nothing else runs."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, tiny_corpus: TinyCorpus) -> Checkout:
    """A login node's checkout with the quickstart's data on the file system that the nodes share."""
    return prepared(tmp_path_factory.mktemp("pretrain"), cluster, ENV, tiny_corpus)


def prepared(base: Path, cluster: Cluster, env: str, tiny_corpus: TinyCorpus) -> Checkout:
    """Such a checkout below `base`, with the profiles of `env`."""
    checkout = make_checkout(base / "checkout")
    checkout.environ = {**checkout.environ, **cluster.env}
    data = checkout.root / "data"
    (checkout.root / "env.toml").write_text(env.format(root=base / "jobs", python=sys.executable, data=data))
    tiny_corpus(data / "tiny")
    done = checkout.run("data-prep", "-c", "tiny", "+sample=200", "publish=true", "num_shards=1")
    assert done.returncode == 0, done.stderr
    return checkout


def _losses(run_dir: str) -> list[float]:
    lines = Path(run_dir, "checkpoints", "training.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines)]


@pytest.fixture(scope="module")
def attached(site: Checkout) -> subprocess.CompletedProcess[str]:
    """The run `evaluated` on two nodes, whose last checkpoint a job of its own evaluates."""
    site = Checkout(site.root, {**site.environ, "A_SECRET": VALUE})
    done = site.run(*COMMAND, "--run", "test2", "--name", "evaluated", *EVALUATED, timeout=TRAINS_S)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def local(site: Checkout, attached: subprocess.CompletedProcess[str]) -> list[float]:
    """Losses of the run `evaluated` with two processes on this machine, by no launcher."""
    config = Path(site.json("status", "evaluated.1")["job_dir"], "config.yaml").read_text()
    run, here = site.root.parent / "jobs" / "slurm" / "evaluated", site.root.parent / "here"
    assert config.count(str(run))
    here.mkdir()
    (here / "config.yaml").write_text(config.replace(str(run), str(here)))
    done = pretrain_fixtures.start(here / "config.yaml", processes=2)
    assert done.code == 0, done.output
    return _losses(str(here))


def test_attached_on_two_nodes_it_learns_as_it_does_here(
    site: Checkout, local: list[float], attached: subprocess.CompletedProcess[str]
) -> None:
    done, record = attached, site.json("status", "evaluated.1")
    log = Path(record["job_dir"], "logs", "rank-0.log").read_text()
    assert "World size: 2" in log
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert sum(not line.startswith("step ") for line in lines) < 40, done.stdout + done.stderr
    assert len(log.splitlines()) > 200
    assert (record["state"], record["executor"]) == ("COMPLETED", "slurm")
    assert _losses(record["run_dir"]) == pytest.approx(local, abs=1e-3)
    finished = json.loads(Path(record["run_dir"], "finished.json").read_text())
    assert Path(finished["hf"], "config.json").is_file()


@pytest.mark.usefixtures("attached")
def test_its_checkpoint_is_evaluated_once_by_a_job_of_its_own(site: Checkout) -> None:
    """By on_checkpoint; no launcher was there for it."""
    run = Path(site.root.parent, "jobs", "slurm", "evaluated")
    folder = run / "checkpoints" / contract.EVALUATIONS
    wait_until(lambda: list(folder.glob(f"*{contract.EVALUATION_JOB}")), 120, "the batch script's last look")
    (marker,) = folder.glob(f"*{contract.EVALUATION_JOB}")
    told = json.loads(marker.read_text())
    assert tuple(told) == contract.EVALUATION_JOB_KEYS and told["slurm_id"] and told["error"] is None, told
    job = Path(told["job_dir"])
    wait_until(lambda: (job / contract.EXIT).exists(), 240, f"the end of {job.name}")
    (row,) = site.json("checkpoints", run.name)["checkpoints"]
    assert row["evaluation_job"]["state"] == contract.COMPLETED, (job / contract.rank_log(0)).read_text()
    assert [one["loss"] for one in row["evaluations"]] == [pytest.approx(row["val_loss"], abs=1e-4)]
    wait_until(lambda: site.json("status", job.name)["state"] == contract.COMPLETED, 120, "Slurm to have ended it, too")
    listed = {one["job_id"]: (one["state"], one["handle"].get("beside")) for one in site.json("jobs")}
    assert listed[job.name] == (contract.COMPLETED, run.name)
    assert "held out: default: loss" in site.run("logs", job.name).stdout
    wait_until(lambda: not (job / contract.SECRETS).exists(), 120, "the end of its secrets")
    assert not [path for path in job.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]


@pytest.fixture
def counted(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[SshServer, Path]]:
    """The login node, and a file with a line for each call of its sbatch."""
    calls, shim, real = tmp_path / "calls", tmp_path / "bin" / "sbatch", shutil.which("sbatch")
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/bash\necho "sbatch $*" >> {calls}\nexec {real} "$@"\n')
    shim.chmod(0o755)
    for server in serve(SshServer({**cluster.env, "PATH": f"{shim.parent}:{os.environ['PATH']}"})):
        yield server, calls


def test_a_wrong_argument_is_refused_over_ssh_before_sbatch(site: Checkout, counted: tuple[SshServer, Path]) -> None:
    """By AutoModel itself, with the key's name; what the plan is worth without the override is not asked."""
    server, calls = counted
    environ = {name: value for name, value in site.environ.items() if name != "SLURM_CONF"}
    laptop = client(Checkout(site.root, environ), server)
    wrong = ("+loss_fn.reduction=mean", "--name", "wrong", "run.env.rehearse=250")
    done = laptop.run(*COMMAND, "--batch", "laptop", *wrong)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    said = " ".join(done.stderr.split())
    assert "error: [rehearsal] loss_fn.reduction = 'mean' (override +loss_fn.reduction=mean): " in said
    assert "only supported when reduction is 'sum'" in said and "on the login node login" in said
    assert {line.split()[1] for line in calls.read_text().splitlines()} == {"--help", "--test-only"}  # the checks' own
    assert not list(Path(site.root.parent, "jobs", "slurm").glob("wrong*"))
    assert not _rehearsals(site)


def _rehearsals(site: Checkout) -> list[Path]:
    """What is left of this site's; other tests rehearse at the same time, and clear up."""
    found = []
    for path in Path("/tmp").glob("launch-rehearsal-*/request.json"):
        with contextlib.suppress(FileNotFoundError):
            if str(site.root.parent) in path.read_text():
                found.append(path)
    return found


def _copy(source: str, target: str) -> None:
    """Other tests may be building theirs there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def boxed(
    site: Checkout, local: list[float], pyxis: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkout, list[str]]:
    """The cluster with containers, and the options that make `test2` run in one."""
    base = tmp_path_factory.mktemp("boxed")
    # AutoModel's data helper as `local` has built it: /tmp is empty in every container
    helper = Path(f"/tmp/nemo_automodel_{os.getuid()}")
    shutil.copytree(helper, base / "helper", copy_function=_copy)
    mounts = [f"{site.root}/data:{site.root}/data:ro", f"{base}/helper:{helper}", *images.BORROWED]
    # the ninja that has built it: another one would build it again
    path = f"run.env.env_vars.PATH={Path(sys.executable).parent}:/usr/bin:/bin"
    options = [path, f"run.env.container_image={images.squashfs(base)}", f"run.env.mounts={json.dumps(mounts)}"]
    return Checkout(site.root, {**site.environ, **pyxis.env}), options


@pytest.mark.slow
def test_attached_in_a_container_it_is_the_same(local: list[float], boxed: tuple[Checkout, list[str]]) -> None:
    site, options = boxed
    done = site.run(*COMMAND, "--run", "test2", "--name", "attached", *options)
    assert done.returncode == 0, done.stderr + done.stdout
    record = site.json("status", "attached")
    assert "--container-image" in Path(record["job_dir"], "script").read_text()
    assert _losses(record["run_dir"]) == pytest.approx(local, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_in_a_container_checkpoints_are_evaluated_while_the_training_goes_on(
    local: list[float], boxed: tuple[Checkout, list[str]]
) -> None:
    """There is no sbatch in the container; the last checkpoint, saved at the end, has its job from `finish`."""
    site, options = boxed
    more = (
        "step_scheduler.max_steps=1000000",
        "step_scheduler.ckpt_every_steps=300",
        "checkpoint.save_consolidated=false",
    )
    words = (*COMMAND, *more, "--batch", "test2", "--name", "goes-on", "run.env.on_checkpoint=evaluate", *options)
    done = site.run(*words)
    assert done.returncode == 0, done.stderr
    folder = Path(site.json("status", "goes-on")["run_dir"], "checkpoints", contract.EVALUATIONS)
    try:
        wait_until(lambda: list(folder.glob("*_step_299.job.json")), 240, "the first checkpoint's job")
        assert site.json("status", "goes-on")["state"] == contract.RUNNING
    finally:
        cancelled = site.run("cancel", "goes-on")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "of its checkpoints go" in cancelled.stderr, cancelled.stderr
    wait_until(lambda: site.json("status", "goes-on")["state"] == contract.CANCELLED, 120, "its end", 1.0)
    wait_until(lambda: (folder / "epoch_0_step_299.json").exists(), 240, "the first checkpoint's losses")
    rows = site.json("checkpoints", "goes-on")["checkpoints"]
    assert len(rows) > 1 and [row["name"] for row in rows if row["evaluation_job"] is None] == []
    assert len({row["evaluation_job"]["slurm_id"] for row in rows}) == len(rows)


@pytest.fixture
def login_node_with_containers(pyxis: Cluster) -> Iterator[SshServer]:
    """The login node of the cluster with containers."""
    yield from serve(SshServer(pyxis.env))


def test_detached_over_ssh_and_in_a_container_it_is_the_same_and_followed_later(
    local: list[float], boxed: tuple[Checkout, list[str]], login_node_with_containers: SshServer
) -> None:
    site, options = boxed
    environ = {name: value for name, value in site.environ.items() if name != "SLURM_CONF"}
    laptop = client(Checkout(site.root, environ), login_node_with_containers)
    batch = laptop.run(*COMMAND, "--batch", "laptop", "--name", "detached", *options)
    assert batch.returncode == 0, batch.stderr
    attached = laptop.run("attach", "detached", timeout=TRAINS_S)
    assert attached.returncode == 0, attached.stderr
    record = laptop.json("status", "detached")
    assert "--container-image" in Path(record["job_dir"], "script").read_text()
    assert _losses(record["run_dir"]) == pytest.approx(local, abs=1e-3)
