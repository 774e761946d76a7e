"""An env.toml in Nemotron's form on a real Slurm: what it refers to reaches the batch script and the training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.slurm import probe
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

TOKEN = "hf_0123456789abcdef"
KEYS = """\
account = "${oc.env:SITE_ACCOUNT,nobody}"
build_cache_dir = "/lustre/cache"
packager = "hybrid"
startup_commands = ["export FROM_SHELL_LINE=${oc.env:WHO,nobody}"]
[c.env_vars]
HF_TOKEN = "${oc.env:HF_TOKEN,''}"
NGC_API_KEY = "${oc.env:NGC_API_KEY,''}"
GREETING = "hello ${oc.env:WHO,nobody}, ${oc.env:NOT_SET,'and others'}"
[wandb]
project = "${oc.env:PROJECT,ours}"
[rented]
executor = "lepton"
node_group = "ours"
"""


def test_an_env_toml_in_nemotrons_form_runs_as_it_is(tmp_path: Path, cluster: Cluster) -> None:
    checkout = probe.site(tmp_path, cluster, KEYS)
    checkout.environ |= {"HF_TOKEN": TOKEN, "WHO": "me", "SITE_ACCOUNT": "root"}
    names = "env=[GREETING,FROM_SHELL_LINE,NGC_API_KEY]"
    plan = checkout.json("probe", "--batch", "c", names, "hashed=[HF_TOKEN]", "--dry-run", "--offline")
    assert "#SBATCH --account=root\n" in plan["script"]
    assert "oc.env" not in json.dumps(plan) and TOKEN not in json.dumps(plan)
    done = checkout.run("probe", "--run", "c", names, "hashed=[HF_TOKEN]", "values=${run.wandb.project}", "--offline")
    told = probe.told(done)
    assert told["env"] == {"GREETING": "hello me, and others", "FROM_SHELL_LINE": "me", "NGC_API_KEY": None}
    assert told["sha256"]["HF_TOKEN"] == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert told["values"] == "ours"
    assert done.stderr.count("without an effect here") == 1
