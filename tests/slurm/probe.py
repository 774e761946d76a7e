"""A recipe that tells what reached the job, and a checkout on a login node of the test cluster that has it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster, wait_until

PROBE = """# /// script
# requires-python = ">=3.10"
#
# [tool.runspec]
# schema = "1"
# name = "probe"
# docs = "Tells what reached the job"
# [tool.runspec.run]
# launch = "LAUNCH"
# [tool.runspec.config]
# dir = "configs/probe"
# default = "default"
# ///
import hashlib, importlib.util, json, os, resource, sys, time
import yaml
config = yaml.safe_load(open(sys.argv[2], encoding="utf-8"))
if config["target"]:  # as AutoModel imports `_target_: my_models/x.py:build`
    path, _, name = config["target"].rpartition(":")
    spec = importlib.util.spec_from_file_location("target", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built = getattr(module, name)()
else:
    built = None
told = {
    "values": config["values"],
    "built": built,
    "env": {name: os.environ.get(name) for name in config["env"]},
    "sha256": {n: hashlib.sha256(os.environb[n.encode()]).hexdigest() for n in config["hashed"]},
    "script": os.path.basename(__file__),
    "cpus": sorted(os.sched_getaffinity(0)),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "slurm": {name: value for name, value in os.environ.items() if name.startswith(("SLURM_", "SBATCH_"))},
}
os.umask(mask := os.umask(0))
told["umask"] = mask
if os.environ["RANK"] == "0":
    print("probe", json.dumps(told), flush=True)
while config["until"] and not os.path.exists(config["until"]):
    time.sleep(0.1)
"""
_TOLD = re.compile(r"^probe .*\n", re.MULTILINE)
CONFIG: dict[str, Any] = {"values": None, "target": None, "env": [], "hashed": [], "until": None}
PROFILE = """
[c]
executor = "slurm"
partition = "batch"
nodes = 2
gpus_per_node = 8
nproc_per_node = 1
time = "00:10:00"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}"
"""


def recipe(launch: str = "python") -> str:
    """Its text. One process a node needs no torchrun, whose import of torch costs more than the rest of such a job."""
    return PROBE.replace("LAUNCH", launch)


def site(tmp_path: Path, cluster: Cluster, more: str = "", name: str = "checkout", launch: str = "python") -> Checkout:
    """A checkout with the recipe `probe` and the profile `c`, with further lines of that."""
    checkout = make_checkout(tmp_path / name)
    profile(checkout, more)
    (checkout.root / "recipes" / "probe.py").write_text(recipe(launch))
    (checkout.root / "configs" / "probe").mkdir()
    (checkout.root / "configs" / "probe" / "default.yaml").write_text(json.dumps(CONFIG))
    checkout.environ = {**clean_environ(), **cluster.env}
    return checkout


def profile(checkout: Checkout, more: str = "") -> None:
    """Write env.toml anew."""
    text = PROFILE.format(python=sys.executable, root=checkout.root.parent / "jobs")
    (checkout.root / "env.toml").write_text(text + more, encoding="utf-8")


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the probe told, of an attached run that has succeeded."""
    assert done.returncode == 0, done.stderr + done.stdout
    return _read(done.stdout)


def _read(text: str) -> dict[str, Any]:
    (line,) = [line for line in text.splitlines() if line.startswith("probe ")]
    found: dict[str, Any] = json.loads(line.removeprefix("probe "))
    return found


def wait_told(job_dir: Path, timeout: float = 180) -> dict[str, Any]:
    """What the probe has told in a job's log, as soon as it stands there."""
    log = job_dir / "logs" / "rank-0.log"
    wait_until(lambda: log.is_file() and _TOLD.search(log.read_text()), timeout, f"the probe's line in {log}")
    return _read(log.read_text())


def below(*roots: Path) -> Iterator[Path]:
    """All files and folders there; what goes away meanwhile, such as what Slurm keeps of a job, is passed over."""
    for root in roots:
        for folder, folders, files in os.walk(root):
            yield from (Path(folder, name) for name in (*folders, *files))
