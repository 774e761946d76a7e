"""What --export and --export-plain write, run on two nodes by a Python that has neither launcher nor NeMo-Run."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

TOKEN = "hush-hush-4711"
RECIPE = '''# /// script
# [tool.runspec]
# name = "lonely"
# [tool.runspec.run]
# launch = "torchrun"
# ///
"""Meets the other rank, and ends as its config says. Fails where the launcher can be imported."""
import importlib.util, os, sys
from pathlib import Path
import yaml
config = yaml.safe_load(Path(sys.argv[2]).read_text())
for name in ("automodel_launch", "nemo_run"):
    assert importlib.util.find_spec(name) is None, name
assert os.environ["MY_TOKEN"] == "hush-" + "hush-4711" and os.environ["STARTED"] == "a b"
sys.exit(config["code"]) if config["code"] else None
total = 2
if "LAUNCH_JOB_DIR" not in os.environ:  # without the node agent, whose rendezvous has tests of its own
    import torch
    torch.distributed.init_process_group("gloo")
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    torch.distributed.destroy_process_group()
rank = os.environ["RANK"]
Path(config["dir"], f"seen-{rank}-{config['name']}").write_text(f"{int(total)} of {os.environ['WORLD_SIZE']}")
'''
ENV = """
[two]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 2
gpus_per_node = 0
nproc_per_node = 1
time = "00:10:00"
python = "{python}"
remote_job_dir = "{root}/jobs"
secrets = ["MY_TOKEN"]
startup_commands = ["export STARTED='a b'"]
env_vars = {{PYTHONPATH = "{packages}"}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Checkout:
    """A checkout with a recipe for two nodes. The packages are a folder of links: of it no .pth file is read."""
    root = tmp_path_factory.mktemp("export")
    packages = root / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"nemo_run|automodel_launch|__editable__|_automodel", entry.name):
            (packages / entry.name).symlink_to(entry)
    base = Path(sys.base_prefix) / "bin" / "python3"
    checkout = make_checkout(root / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=base, root=root, packages=packages))
    (checkout.root / "recipes" / "lonely.py").write_text(RECIPE)
    config = checkout.root / "recipes" / "one.yaml"
    config.write_text("dir: ${run.dir}\nname: ${run.name}\ncode: 0\n")
    checkout.environ = {**clean_environ(), **cluster.env, "MY_TOKEN": TOKEN}
    return checkout


def _submit(cluster: Cluster, script: Path, where: Path) -> int:
    done = cluster.run("sbatch", "--parsable", f"--chdir={where}", str(script), MY_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_both_run_where_they_were_copied_to(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    first, there = tmp_path / "first", tmp_path / "there"
    first.mkdir()
    there.mkdir()
    options = ("--run", "two", "--name", "far", "--export", str(first / "far"), "--export-plain", str(first / "t.sh"))
    done = site.run("lonely", "-c", str(site.root / "recipes" / "one.yaml"), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sbatch", f"{first}/far/script", "sbatch", f"{first}/t.sh"]
    assert site.json("jobs") == []
    shutil.move(first, there / "moved")
    moved = there / "moved"
    jobs = [_submit(cluster, moved / "far" / "script", there), _submit(cluster, moved / "t.sh", there)]
    run = moved / "far" / "runs"
    said = "\n".join(path.read_text() for path in there.glob("*.out"))
    assert [cluster.wait_for(job, timeout=240) for job in jobs] == ["COMPLETED", "COMPLETED"], said
    for folder in (run / "far", moved / "runs" / "far"):
        assert [(folder / f"seen-{rank}-far").read_text() for rank in (0, 1)] == ["2 of 2", "2 of 2"]
    assert (run / "far.1" / "exit.json").is_file()
    assert (run / "far.1" / "environment.json").is_file()
    for path in (moved / "far" / "job" / "config.yaml", moved / "t.files" / "config.yaml"):
        path.write_text(path.read_text().replace("code: 0", "code: 7"))
    jobs = [_submit(cluster, moved / "far" / "script", there), _submit(cluster, moved / "t.sh", there)]
    assert [cluster.wait_for(job, timeout=240) for job in jobs] == ["FAILED", "FAILED"]
    assert cluster.job(jobs[0])["ExitCode"] == "7:0"
    assert cluster.job(jobs[1])["ExitCode"] == "1:0"  # torchrun's own, of the node that failed first
    assert (run / "far.2" / "exit.json").is_file()
    texts = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert [str(path) for path, text in texts.items() if TOKEN.encode() in text] == []
    assert [str(path) for path, text in texts.items() if f"{first}/".encode() in text] == []


def test_without_its_variable_it_says_which(site: Checkout, cluster: Cluster, tmp_path: Path) -> None:
    done = site.run(
        "lonely", "-c", str(site.root / "recipes" / "one.yaml"), "--run", "two", "--export", str(tmp_path / "e")
    )
    assert done.returncode == 0, done.stderr
    sent = cluster.run("sbatch", "--parsable", f"--chdir={tmp_path}", str(tmp_path / "e" / "script"))
    job = int(sent.stdout)
    assert cluster.wait_for(job) == "FAILED"
    assert "MY_TOKEN is not set: export it first" in (tmp_path / f"slurm-{job}.out").read_text()
    assert not (tmp_path / "e" / "runs" / "far.1").exists()
