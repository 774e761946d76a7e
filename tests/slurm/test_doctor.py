"""`doctor` on a real Slurm, on a login node and over SSH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster
from tests.slurm.sshd import SshServer

pytestmark = pytest.mark.e2e

ENV = """
[site]
executor = "slurm"
account = "research"
partition = "batch"
nodes = 2
gpus_per_node = 8
time = "01:00:00"
python = "{python}"
remote_job_dir = "{root}"

[wrong]
extends = "site"
partition = "bacth"
batch_partition = "short"
nodes = 3
gpus_per_node = 9
python = "/none/python"
remote_job_dir = "/proc/jobs"

[misspelt]
extends = "site"
time = "1h"
account = "YOUR-ACCOUNT"
additional_parameters = {{ "mail-tpye" = "END", mincpus = 1 }}

[container]
extends = "site"
container_image = "{root}/image.sqsh"

[far]
extends = "site"
tunnel = "ssh"
host = "login"

[stranger]
extends = "site"
account = "nobodys"
"""
Lines = dict[str, dict[str, Any]]


def _checkout(tmp_path: Path, environ: dict[str, str]) -> Checkout:
    checkout = make_checkout(tmp_path / "checkout")
    (checkout.root / "env.toml").write_text(ENV.format(python=sys.executable, root=tmp_path / "jobs"))
    checkout.environ = {**clean_environ(), **environ}
    return checkout


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Checkout:
    """A checkout on a login node of the cluster without accounting."""
    cluster.empty()  # what it says of nodes is what other tests have left there
    return _checkout(tmp_path, cluster.env)


def _shim(checkout: Checkout, name: str, text: str) -> None:
    """A program that stands before the system's own."""
    folder = checkout.root / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    checkout.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def _lines(checkout: Checkout, *args: str) -> Lines:
    return {line["what"]: line for line in checkout.json("doctor", *args)["lines"]}


def _levels(lines: Lines, *names: str) -> list[str]:
    return [lines[name]["level"] for name in names]


def test_a_cluster_that_is_fine(site: Checkout, tmp_path: Path) -> None:
    done = site.run("doctor", "site")
    assert "FAIL" not in done.stdout.replace("FAIL         torch", "").replace("FAIL         nemo_automodel", "")
    lines = _lines(site, "site")
    for name in ("Slurm", "controller", "partition", "time", "nodes", "GPUs", "job root", "agent", "python", "sacct"):
        assert lines[name]["level"] == "ok", lines[name]
    assert lines["account"]["level"] == "not checked"
    assert "no accounting" in lines["account"]["detail"]
    assert "4 up, 4 idle" in lines["nodes"]["detail"]
    assert "pyxis" in lines
    assert not (tmp_path / "jobs").exists()
    assert not list(tmp_path.glob(".doctor*"))


def test_a_profile_that_is_wrong(site: Checkout) -> None:
    done = site.run("doctor", "wrong")
    assert done.returncode == 3
    lines = _lines(site, "wrong")
    assert _levels(lines, "time", "nodes", "GPUs", "job root", "python", "partition") == ["FAIL"] * 6
    assert "at most 5 min" in lines["time"]["detail"]
    assert "'batch'" in lines["partition"]["detail"]
    assert all(line["fix"] for line in lines.values() if line["level"] == "FAIL")
    assert "fix: gpus_per_node = 8" in done.stdout


def test_values_in_a_wrong_form(site: Checkout) -> None:
    lines = _lines(site, "misspelt")
    done = site.run("doctor", "misspelt")
    assert done.returncode == 3 and 'fix: time = "01:00:00"' in done.stdout
    assert "mail-type" in lines["additional_parameters"]["detail"]
    assert "placeholder" in done.stdout
    assert "additional_parameters" not in _lines(site, "site")


def test_nodes_that_are_down(site: Checkout, cluster: Cluster) -> None:
    try:
        for node in (1, 2, 3):
            cluster.check("scontrol", "update", f"nodename=c{node}", "state=drain", "reason=test")
        lines = _lines(site, "site")
    finally:
        for node in (1, 2, 3):
            cluster.check("scontrol", "update", f"nodename=c{node}", "state=resume")
        cluster.heal()
    assert _levels(lines, "nodes", "GPUs") == ["warn", "warn"]
    assert "1 up" in lines["nodes"]["detail"]


def test_a_controller_that_is_down(site: Checkout, cluster: Cluster) -> None:
    cluster.stop_ctld()
    try:
        done = site.run("doctor", "site")
    finally:
        cluster.heal()
    assert done.returncode == 3
    assert "FAIL         controller" in done.stdout
    assert "not checked  partition" in done.stdout
    assert "ok           job root" in done.stdout


def test_a_machine_without_slurm(site: Checkout) -> None:
    _shim(site, "sbatch", "echo sbatch: command not found >&2; exit 127")
    line = _lines(site, "site")["Slurm"]
    assert line["level"] == "FAIL"
    assert "PATH" in line["fix"]


def test_variables_of_this_shell_have_no_say(site: Checkout) -> None:
    site.environ.update(SINFO_FORMAT="%N", SINFO_PARTITION="none", SBATCH_PARTITION="none", LC_ALL="de_DE.UTF-8")
    assert _levels(_lines(site, "site"), "partition", "nodes", "GPUs") == ["ok"] * 3


def test_accounts(tmp_path: Path, cluster_dbd: Cluster) -> None:
    checkout = _checkout(tmp_path, cluster_dbd.env)
    lines = _lines(checkout, "site")
    assert (lines["account"]["level"], lines["account"]["detail"]) == ("ok", "research")
    assert lines["sacct"]["detail"] == "there"
    line = _lines(checkout, "stranger")["account"]
    assert line["level"] == "warn"
    assert "research" in line["fix"]


def test_the_container_image(site: Checkout, tmp_path: Path) -> None:
    image = tmp_path / "jobs" / "image.sqsh"
    seen = []
    for content in (None, b"", b"#!/bin/sh\n", b"hsqs".ljust(40, b"\0") + bytes([48, 0, 0, 0, 0, 0, 0, 0])):
        if content is not None:
            image.parent.mkdir(exist_ok=True)
            image.write_bytes(content)
        lines = _lines(site, "container")
        seen.append((lines["image"]["level"], lines["image"]["detail"].rpartition(": ")[2]))
    assert [level for level, _ in seen] == ["FAIL", "FAIL", "FAIL", "ok"]
    assert [words for _, words in seen[:3]] == ["no such file", "is empty", "is no squashfs file"]
    assert _levels(lines, "python", "pyxis") == ["not checked", "FAIL"]
    _shim(site, "srun", "echo '      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]'")
    assert _levels(_lines(site, "container"), "pyxis") == ["ok"]


# --- over SSH


@pytest.fixture
def far(tmp_path: Path, login_node: SshServer) -> Checkout:
    """A laptop: no Slurm of its own, an ssh_config that knows the login node."""
    checkout = _checkout(tmp_path, {"HOME": str(tmp_path)})
    checkout.environ.pop("SLURM_CONF", None)
    _shim(checkout, "ssh", f'exec /usr/bin/ssh -F {login_node.config} "$@"')
    return checkout


def test_over_ssh(far: Checkout) -> None:
    lines = _lines(far, "far")
    assert lines["connection"]["level"] == "ok"
    assert lines["connection"]["detail"].startswith("ssh login in ")
    assert _levels(lines, "Slurm", "controller", "partition", "nodes", "job root", "agent") == ["ok"] * 6


def _refused(checkout: Checkout) -> subprocess.CompletedProcess[str]:
    done = checkout.run("doctor", "far")  # it gives up
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done


def test_a_host_with_its_port(far: Checkout, login_node: SshServer) -> None:
    with (far.root / "env.toml").open("a") as file:
        file.write(f'\n[port]\nextends = "far"\nhost = "ssh://login:{login_node.port}"\n')
    assert _lines(far, "port")["connection"]["level"] == "ok"


def test_an_unknown_host_key(far: Checkout, login_node: SshServer) -> None:
    login_node.known_hosts.write_text("")
    assert "not known here" in _refused(far).stderr


def test_a_refused_key(far: Checkout, login_node: SshServer) -> None:
    (login_node.dir / "authorized_keys").write_text("")
    assert "the key was refused" in _refused(far).stderr


def test_a_host_that_is_down(far: Checkout, login_node: SshServer) -> None:
    login_node.stop()
    assert "is the host up" in _refused(far).stderr


def test_a_host_that_never_answers(far: Checkout, login_node: SshServer) -> None:
    text = login_node.config.read_text().replace(login_node.host, "192.0.2.1")  # set aside for documentation
    login_node.config.write_text(text)
    assert "login" in _refused(far).stderr


def test_a_login_node_without_slurm(tmp_path: Path, sshd: SshServer) -> None:
    checkout = _checkout(tmp_path, {"HOME": str(tmp_path)})
    _shim(checkout, "ssh", f'exec /usr/bin/ssh -F {sshd.config} "$@"')
    assert checkout.run("doctor", "far").returncode == 3
