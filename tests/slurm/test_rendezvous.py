"""Two nodes whose rendezvous port another process has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slurm import probe
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

LISTENER = """
python3 -u -c 'import socket, time
s = socket.socket(); s.bind(("", {port})); s.listen(); print("here"); time.sleep(600)'
"""


def test_a_job_whose_port_is_taken_on_its_head_node_meets_at_the_next(tmp_path: Path, cluster: Cluster) -> None:
    more = 'nodelist = "c[1-2]"\nmem = "1000"\nadditional_parameters = {hold = true}\n'
    site = probe.site(tmp_path, cluster, more, launch="torchrun")
    text = (site.root / "env.toml").read_text().replace("gpus_per_node = 8\n", "")
    (site.root / "env.toml").write_text(text)
    assert site.run("probe", "--batch", "c", "--name", "meets").returncode == 0
    job = tmp_path / "jobs" / "meets.1"
    port = json.loads((job / "agent.json").read_text())["rendezvous"]["port"]
    other = cluster.submit(LISTENER.format(port=port), "--nodelist=c1", "--mem=100")
    cluster.wait_for_log(other, "here")
    cluster.check("scontrol", "release", site.json("status", "meets.1")["handle"]["slurm_id"])
    probe.told(site.run("attach", "meets.1"))
    (log,) = job.glob("logs/sbatch_*.out")
    assert f"the rendezvous port {port} of" in log.read_text()
    cluster.check("scancel", str(other))
