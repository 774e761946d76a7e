"""Fixtures with a real Slurm and a real sshd. What they need is installed by scripts/install-test-system.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.sshd import SSHD, SshServer

HERE = Path(__file__).parent
HELPER = Path(f"/tmp/nemo_automodel_{os.getuid()}")  # AutoModel 0.7.0: megatron_utils._HELPER_CACHE_ROOT
DAEMONS = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # all of the session's, not only this directory's
        if item.nodeid.startswith("tests/slurm/"):
            item.add_marker(pytest.mark.slurm)


def need(met: bool, what: str) -> None:
    """Skips for a person who lacks something; in CI, where a skipped test would go unnoticed, it fails."""
    if met:
        return
    message = f"needs {what}; install it with scripts/install-test-system.sh, as root"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def start(factory: pytest.TempPathFactory, *options: str) -> Iterator[Cluster]:
    need(os.getuid() == 0, "root")
    need(all(shutil.which(name, path=DAEMONS) for name in ("slurmctld", "slurmd", "munged")), "Slurm")
    # Nodes have a /tmp of their own: of this machine's they see what is shared, as on a real cluster. So tmp_path is.
    # And AutoModel's compiled data helper, which else every node would build for half a minute in its own.
    HELPER.mkdir(mode=0o700, exist_ok=True)
    cluster = Cluster(*options, shared=(factory.getbasetemp(), HELPER))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """4 nodes with 8 GPUs each, without accounting: sacct fails, as on many clusters."""
    yield from start(tmp_path_factory)


@pytest.fixture(scope="session")
def cluster_dbd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """As `cluster`, with accounting: sacct knows every job, account `research` is root's default."""
    need(all(shutil.which(name, path=DAEMONS) for name in ("slurmdbd", "mariadbd")), "slurmdbd and mariadb")
    yield from start(tmp_path_factory, "--dbd")


def serve(server: SshServer) -> Iterator[SshServer]:
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    """A host to log in to that knows nothing of Slurm."""
    need(SSHD is not None, "sshd")
    yield from serve(SshServer())


@pytest.fixture
def login_node(cluster: Cluster) -> Iterator[SshServer]:
    """The login node of `cluster`: over SSH, Slurm's commands find it."""
    need(SSHD is not None, "sshd")
    yield from serve(SshServer(cluster.env))


@pytest.fixture(scope="session")
def pyxis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """2 nodes whose srun runs containers, through a stand-in for pyxis (spank_testct.c); without accounting."""
    need(shutil.which("gcc") is not None and Path("/usr/include/slurm/spank.h").exists(), "gcc and libslurm-dev")
    plugin = tmp_path_factory.mktemp("pyxis") / "spank_testct.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-o", plugin, HERE / "spank_testct.c"], check=True)
    yield from start(tmp_path_factory, "--nodes", "2", "--pyxis", str(plugin))
