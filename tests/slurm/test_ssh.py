"""Slurm over SSH: one connection, strict host keys, clear errors, and lost connections that cost nothing."""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests.conftest import LIMIT_S, Checkout
from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.sshd import SshServer
from tests.slurm.test_truth import Attached, heal, make_site

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

SSH = 'tunnel = "ssh"\nhost = "login"'


def client(site: Checkout, server: SshServer) -> Checkout:
    """Let the site know the server as `login`. OpenSSH reads the passwd entry's home, whatever HOME says: so by -F."""
    folder = site.root.parent / "bin"
    folder.mkdir(exist_ok=True)
    real = shutil.which("ssh")
    (folder / "ssh").write_text(f'#!/bin/bash\necho >> {folder}/calls\nexec {real} -F {server.config} "$@"\n')
    (folder / "ssh").chmod(0o755)
    site.environ["PATH"] = f"{folder}:{site.environ['PATH']}"
    site.environ["XDG_RUNTIME_DIR"] = str(server.dir)  # a master connection of its own for each server
    return site


def calls(site: Checkout) -> int:
    return len((site.root.parent / "bin" / "calls").read_text().splitlines())


def connections(server: SshServer) -> int:
    return server.log.read_text().count("Accepted publickey")


@pytest.fixture
def laptop(tmp_path: Path, cluster: Cluster, login_node: SshServer) -> Iterator[Checkout]:
    """A machine without Slurm, and a profile with the alias of the cluster's login node."""
    yield client(make_site(tmp_path, {}, SSH), login_node)
    heal(cluster)


@pytest.fixture
def stranger(tmp_path: Path, sshd: SshServer) -> Checkout:
    """As `laptop`, for ways that lead nowhere."""
    return client(make_site(tmp_path, {}, SSH), sshd)


def test_attached_over_one_connection(laptop: Checkout, login_node: SshServer) -> None:
    done = laptop.run("stub-one", "--run", "two", "steps=10", "pause=0.5", "fail_rank=1", "code=7")
    assert done.returncode == 7, done.stderr
    assert "error: about to fail (rank 1 on c" in done.stderr
    assert done.stdout.count("x | INFO") == 10
    assert connections(login_node) == 1
    print(f"{calls(laptop)} calls of ssh")
    (folder,) = login_node.dir.glob("automodel-launch-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_detached_and_everything_afterwards(laptop: Checkout, login_node: SshServer) -> None:
    record = laptop.json("stub-one", "--batch", "two", "steps=9000", "pause=0.1", "value=it's")
    attached = laptop.start("attach", "last")
    assert laptop.json("status", record["handle"]["slurm_id"])["state"] in ("PENDING", "RUNNING")
    log = Path(record["job_dir"], contract.rank_log(1))
    wait_until(lambda: log.exists() and "value it's" in log.read_text(), 120, f"the value in {log}")
    assert "[1] value it's" in laptop.run("logs", "last", "--rank", "all").stdout
    assert laptop.json("jobs")[0]["state"] == "RUNNING"
    page = laptop.root / "page.html"
    assert laptop.run("report", "last", "-o", str(page)).returncode == 0
    assert '"state":"RUNNING"' in page.read_text()
    assert "CANCELLED" in laptop.run("cancel", "last").stdout
    out, err = attached.communicate(timeout=LIMIT_S)
    before = calls(laptop)
    assert laptop.run("report", "last", "-o", str(page), "--watch").returncode == 0  # it is over: once is enough
    assert calls(laptop) - before <= 12
    (run,) = json.loads(re.findall(r'id="data">(.*)</script>', page.read_text())[0])["runs"]
    logged = (Path(record["job_dir"]) / "metrics.jsonl").read_text().splitlines()
    assert (run["state"], run["last"]["step"]) == ("CANCELLED", json.loads(logged[-1])["step"])
    assert [attempt["state"] for attempt in run["attempts"]] == ["CANCELLED"]
    assert attached.returncode not in (0, 130)
    assert "value it's" in out
    assert ": CANCELLED" in err
    assert connections(login_node) == 1


def test_connection_lost_in_the_middle(laptop: Checkout, login_node: SshServer) -> None:
    lost_connection(laptop, login_node, 15)


@pytest.mark.slow
def test_connection_lost_for_a_minute(laptop: Checkout, login_node: SshServer) -> None:
    lost_connection(laptop, login_node, 60)


def lost_connection(laptop: Checkout, login_node: SshServer, seconds: float) -> None:
    steps = round(seconds) * 2
    run = Attached(laptop, "stub-one", "--run", "one", f"steps={steps}", "pause=0.5", "fail_rank=0", "code=7")
    login_node.stop()
    time.sleep(seconds)
    login_node.start()
    assert run.end() == 7
    assert run.err.count("cannot tell the job's state") == 1  # whatever ssh said first: closed, reset, refused
    assert ": FAILED, exit code 7" in run.err
    assert run.out.count("x | INFO") == steps  # none is missing, none comes twice


# What may be wrong


def _refused(site: Checkout, *words: str) -> None:
    done = site.run("stub-one", "--run", "one")  # it gives up
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    for word in ("error: login: ", "hint: ", *words):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_port(stranger: Checkout, sshd: SshServer) -> None:
    sshd.stop()
    _refused(stranger, "Connection refused", "is the host up")


def test_a_host_that_does_not_answer(stranger: Checkout, sshd: SshServer) -> None:
    with socket.socket() as silent:
        silent.bind((sshd.host, 0))
        silent.listen()
        config = sshd.config.read_text().replace(f"Port {sshd.port}", f"Port {silent.getsockname()[1]}")
        sshd.config.write_text(config)
        _refused(stranger, "timed out")


def test_refused_key(stranger: Checkout, sshd: SshServer) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", sshd.dir / "other"], check=True)
    sshd.config.write_text(sshd.config.read_text().replace(str(sshd.key), str(sshd.dir / "other")))
    _refused(stranger, "Permission denied", "the key was refused")


def test_unknown_host_key(stranger: Checkout, sshd: SshServer) -> None:
    sshd.known_hosts.write_text("")
    sshd.config.write_text(sshd.config.read_text().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking no"))
    _refused(stranger, "connect once by hand")
    assert sshd.known_hosts.read_text() == ""


def test_changed_host_key(stranger: Checkout, sshd: SshServer) -> None:
    algorithm, public = (sshd.dir / "id_ed25519.pub").read_text().split()[:2]
    sshd.known_hosts.write_text(f"[{sshd.host}]:{sshd.port} {algorithm} {public}\n")
    _refused(stranger, "ssh-keygen -R")


def test_a_job_whose_host_is_away(laptop: Checkout, login_node: SshServer) -> None:
    laptop.run("stub-one", "--batch", "one")
    login_node.stop()
    for command in ("status", "attach", "logs", "cancel"):
        done = laptop.run(command, "last")
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert "Connection refused" in done.stderr
        assert "Traceback" not in done.stderr
    assert "UNKNOWN" in laptop.run("jobs").stdout
    login_node.start()
    assert laptop.run("attach", "last").returncode == 0


def test_a_login_node_without_slurm(stranger: Checkout) -> None:
    done = stranger.run("stub-one", "--batch", "one")
    assert done.returncode == 4, done.stderr
    assert "configuration source" in done.stderr  # Slurm's commands are there, its configuration is not
    assert "Traceback" not in done.stderr


def test_two_clusters_at_once(laptop: Checkout, login_node: SshServer, cluster: Cluster, cluster_dbd: Cluster) -> None:
    other = SshServer(cluster_dbd.env)
    other.start()
    try:
        login_node.config.write_text(
            login_node.config.read_text() + other.config.read_text().replace("Host login", "Host other")
        )
        with (laptop.root / "env.toml").open("a") as file:
            file.write('\n[elsewhere]\nextends = "one"\nhost = "other"\n')
        work = ("steps=9000", "pause=0.1")  # two runs: they have one job root, and a run has one job at a time
        begun = [laptop.json("stub-one", "--batch", name, f"value={name}", *work) for name in ("one", "elsewhere")]
        ids = [int(record["handle"]["slurm_id"]) for record in begun]
        for where, slurm_id in zip((cluster, cluster_dbd), ids, strict=True):
            where.wait_for(slurm_id, "RUNNING")
        rows = laptop.json("jobs")
        assert [(row["profile"], row["state"]) for row in rows] == [("one", "RUNNING"), ("elsewhere", "RUNNING")]
        assert laptop.run("cancel", begun[1]["job_id"]).returncode == 0
        assert [row["state"] for row in laptop.json("jobs")] == ["RUNNING", "CANCELLED"]
        assert cluster.state(ids[0]) == "RUNNING"
        # FAILED where the job ended by itself, asked to
        assert cluster_dbd.wait_for(ids[1]) in ("CANCELLED", "FAILED")
        assert (connections(login_node), connections(other)) == (1, 1)
    finally:
        other.remove()
