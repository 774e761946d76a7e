"""Secrets on a real Slurm: the training has the exact value, and it stands nowhere but in one file of the owner's."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

import pytest

from tests.conftest import Checkout
from tests.slurm import probe
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.sshd import SshServer

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]


def _holders(value: str, *roots: Path) -> set[Path]:
    """Files below the roots that hold the value."""
    found = set()
    for path in probe.below(*roots):
        try:
            if path.is_file() and value.encode() in path.read_bytes():
                found.add(path)
        except OSError:
            continue  # gone meanwhile
    return found


def _in_command_lines(value: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if value.encode() in text:
            found.append(text.decode(errors="replace"))
    return found


@pytest.mark.parametrize("over", ["login node", "ssh"])
def test_a_secret_stands_in_one_file_while_the_job_runs(
    tmp_path: Path, cluster: Cluster, login_node: SshServer, over: str
) -> None:
    random = secrets.token_hex(16)
    value = f"{random} 'q' \"d\" $HOME `id` \\ ;#\nsecond {random}\t"
    more = 'secrets = ["HF_TOKEN", "EMPTY"]\nenv = ["FORWARDED"]\nstartup_commands = ["set -x", "true $HOME"]\n'
    more += _through(tmp_path, login_node) if over == "ssh" else ""
    checkout = probe.site(tmp_path, cluster, more, launch="python" if over == "ssh" else "torchrun")
    checkout.environ |= {"HF_TOKEN": value, "EMPTY": "", "FORWARDED": "a 'b' \"c\" $D\ne"}
    checkout.environ |= {"LEAKED": f"leaked {random}"}
    _on_path(checkout, tmp_path, login_node, over)
    shown = checkout.run("probe", "--batch", "c", "--dry-run", "--offline")
    go = tmp_path / "go"
    nodes = "run.env.nodes=2" if over == "ssh" else "run.env.nodes=1"  # torchrun costs seconds on each
    record = checkout.json(
        "probe", "--batch", "c", nodes, f"until={go}", "hashed=[HF_TOKEN,EMPTY]", "env=[FORWARDED,LEAKED]", "--offline"
    )
    job_dir = Path(record["job_dir"])
    file = job_dir / "secrets.env"
    told = probe.wait_told(job_dir)

    assert told["sha256"]["HF_TOKEN"] == hashlib.sha256(value.encode()).hexdigest()
    assert told["sha256"]["EMPTY"] == hashlib.sha256(b"").hexdigest()
    assert told["env"] == {"FORWARDED": checkout.environ["FORWARDED"], "LEAKED": None}
    # the nodes' own /tmp and Slurm's spool lie below the cluster's directory
    roots = (tmp_path, cluster.dir)
    assert _holders(random, *roots) == {file}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _in_command_lines(random) == []
    assert "HF_TOKEN" in shown.stdout and "secret, by name" in shown.stdout

    go.touch()
    cluster.wait_for(int(record["handle"]["slurm_id"]))
    assert not file.exists()  # before anybody has asked for the job's state
    done = checkout.run("attach", record["job_id"])
    status = checkout.run("status", record["job_id"])
    assert done.returncode == 0, done.stderr
    assert _holders(random, *roots) == set()
    assert not file.exists()
    assert all(random not in text for said in (shown, done, status) for text in (said.stdout, said.stderr))


def _through(tmp_path: Path, login_node: SshServer) -> str:
    return f'tunnel = "ssh"\nhost = "login"\nuser = "{login_node.user}"\n'


def _on_path(checkout: Checkout, tmp_path: Path, login_node: SshServer, over: str) -> None:
    """An `ssh` that reads the test's ssh_config, as a user's own would lie in ~/.ssh."""
    if over != "ssh":
        return
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {login_node.config} "$@"\n')
    wrapper.chmod(0o755)
    checkout.environ |= {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(tmp_path)}
    del checkout.environ["SLURM_CONF"]


def test_a_job_that_never_began_leaves_no_secret(tmp_path: Path, cluster: Cluster) -> None:
    more = 'secrets = ["HF_TOKEN"]\nadditional_parameters = {hold = true}\n'
    checkout = probe.site(tmp_path, cluster, more)
    checkout.environ |= {"HF_TOKEN": "abcdefgh"}
    ours, elsewhere = (checkout.json("probe", "--batch", "c", "--name", name, "--offline") for name in ("a", "b"))
    files = [Path(record["job_dir"], "secrets.env") for record in (ours, elsewhere)]
    assert all(file.exists() for file in files)
    cancelled = checkout.run("cancel", ours["job_id"])
    assert cancelled.returncode == 0, cancelled.stderr
    assert not files[0].exists()
    cluster.check("scancel", elsewhere["handle"]["slurm_id"])
    wait_until(lambda: checkout.json("status", elsewhere["job_id"])["state"] == "CANCELLED", 120, "CANCELLED")
    assert not files[1].exists()


def test_an_unset_secret_refuses_the_plan(tmp_path: Path, cluster: Cluster) -> None:
    checkout = probe.site(tmp_path, cluster, 'secrets = ["NOT_SET_HERE"]\n')
    done = checkout.run("probe", "--batch", "c", "--offline")
    assert done.returncode == 3
    assert "NOT_SET_HERE" in done.stderr
