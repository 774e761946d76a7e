"""`doctor --gpu` on two nodes of a real Slurm, over gloo, with a stand-in for nvidia-smi."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environ, make_checkout
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

ENV = """
[site]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 2
gpus_per_node = 8
nproc_per_node = 2
nodelist = "c[1-2]"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}/jobs"
mounts = ["{root}/data:/data", "{root}/code:/code:ro"]
startup_commands = [
  "export PATH={root}/bin:$PATH",
  "[ $SLURMD_NODENAME != c2 ] || {{ mount --bind {root}/data {root}/data; mount -o remount,ro,bind {root}/data; }}",
]
"""
GPU = """<gpu id="0:{number}">
<ecc_errors><volatile><dram_uncorrectable>{errors}</dram_uncorrectable></volatile></ecc_errors>
<clocks_event_reasons><clocks_event_reason_hw_slowdown>{slow}</clocks_event_reason_hw_slowdown></clocks_event_reasons>
</gpu>"""


def _nvidia_smi(folder: Path) -> None:
    """c1 has eight GPUs; c2 has lost one, and two of the others are broken."""
    folder.mkdir()
    for node in (1, 2):
        count = 9 - node
        errors = [2 if (node, number) == (2, 3) else 0 for number in range(count)]
        slow = ["Active" if (node, number) == (2, 5) else "Not Active" for number in range(count)]
        gpus = (GPU.format(number=number, errors=errors[number], slow=slow[number]) for number in range(count))
        (folder / f"c{node}.xml").write_text(f"<nvidia_smi_log>{''.join(gpus)}</nvidia_smi_log>")
    (folder / "nvidia-smi").write_text(f'#!/bin/sh\ncat "{folder}/$SLURMD_NODENAME.xml"\n')
    (folder / "nvidia-smi").chmod(0o755)


def test_two_nodes_of_which_one_is_broken(tmp_path: Path, cluster: Cluster) -> None:
    for name in ("data", "code"):
        (tmp_path / name).mkdir()
    _nvidia_smi(tmp_path / "bin")
    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=tmp_path))
    checkout.environ = {**clean_environ(), **cluster.env}

    try:
        done = checkout.run("doctor", "--gpu", "site", "min_free_gib=0.001")
    finally:
        cluster.run("srun", "-w", "c2", "umount", str(tmp_path / "data"))
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[2:4]}
    assert [rows["c1"][column] for column in (1, 2, 3)] == ["ok", "8/8", "0"]
    assert [rows["c2"][column] for column in (1, 2, 3)] == ["FAIL", "7/8", "2"]
    assert all(float(row[column]) > 0 for row in rows.values() for column in (5, 6))
    said = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    for words in (
        "FAIL  c2: GPUs: 7 of 8",
        "FAIL  c2: GPU 3 (0:3): 2 uncorrected ECC errors",
        "FAIL  c2: GPU 5: clocks are held down: hardware slowdown",
        f"FAIL  c2: {tmp_path}/data: not writable: Read-only file system",
    ):
        assert any(line.startswith(words) for line in said), done.stdout
    assert len(said) == 5  # the last one is that torch has no CUDA here, on both nodes
    assert "torch: on every node: torch" in done.stdout
    assert "over gloo on the CPU" in done.stdout
    assert done.stdout.endswith('put into [site] of env.toml:  exclude = "c2"\n')
