"""The test cluster itself: does it do what real clusters do, and does it leave nothing behind?"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LIMIT_S
from tests.slurm.cluster import SCRIPT, Cluster, wait_until
from tests.slurm.sshd import SshServer

TWO_BY_TWO = """
#SBATCH --nodes=2 --ntasks-per-node=2 --gpus-per-node=8 --mem=500
echo "nodes=$SLURM_JOB_NODELIST value=$VALUE"
echo $SLURMD_NODENAME > /tmp/of-this-node
srun --mpi=none bash -c 'echo "rank=$SLURM_PROCID host=$(hostname) gpus=$CUDA_VISIBLE_DEVICES value=$VALUE
  tmp=$(cat /tmp/of-this-node 2> /dev/null)"; touch "$SHARED/$SLURM_PROCID"'
"""
SLEEP = "#SBATCH --mem=100\necho ready\nsleep 300\n"
TWO_NODES_SLEEP = "#SBATCH --nodes=2 --mem=100 --no-requeue\necho ready\nsrun sleep 300\n"


def left_over(directory: Path) -> list[str]:
    """Processes and links of a cluster in that directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory).encode() in (path / "environ").read_bytes() + (path / "cmdline").read_bytes():
                found.append(f"{path.name} {(path / 'comm').read_text().strip()}")
        except OSError:
            continue  # ended meanwhile
    for alias in Path("/sys/class/net").glob("*/ifalias"):
        if str(directory) in alias.read_text():
            found.append(alias.parent.name)
    return found


def test_two_nodes_with_two_tasks_each(cluster: Cluster, tmp_path: Path) -> None:
    Path("/tmp/of-this-node").unlink(missing_ok=True)  # of a run without namespaces, whose /tmp is this machine's
    job = cluster.submit(TWO_BY_TWO, "--nodelist=c[1-2]", VALUE="a b", SHARED=str(tmp_path))
    assert cluster.wait_for(job) == "COMPLETED"
    log = cluster.log(job)
    assert "nodes=c[1-2] value=a b" in log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]
    assert log.count("gpus=0,1,2,3,4,5,6,7 value=a b") == 4
    if cluster.has_namespaces:
        assert log.count("host=c1 ") == log.count("host=c2 ") == 2
        assert log.count("tmp=c1") == 2, "node 1 has a /tmp of its own"
        assert not Path("/tmp/of-this-node").exists()


def test_the_controller_keeps_the_script_as_it_was_submitted(cluster: Cluster) -> None:
    script = "#!/bin/bash\n# a 'quoted' line with $VARIABLES; and ünïcode\ntrue\n"
    job = cluster.submit(script)
    copy = cluster.dir / "copy"
    cluster.check("scontrol", "write", "batch_script", str(job), copy)
    assert copy.read_bytes() == script.encode()
    assert cluster.wait_for(job) == "COMPLETED"


def test_a_job_that_cannot_start_says_why(cluster: Cluster) -> None:
    job = cluster.submit("true", "--begin=now+1hour")
    assert cluster.check("squeue", "-h", "-j", str(job), "-o", "%T %r").split() == ["PENDING", "BeginTime"]
    cluster.check("scancel", str(job))
    assert cluster.wait_for(job) == "CANCELLED"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition=nope"], "invalid partition specified: nope"),
        (["--gpus-per-node=9"], "Requested node configuration is not available"),
        (["--nodes=5"], "Node count specification invalid|more processors than permitted|not available"),
        (["--partition=short", "--time=10"], ""),  # Slurm lets it pass: it would wait with PartitionTimeLimit for ever
    ],
)
def test_test_only(cluster: Cluster, options: list[str], message: str) -> None:
    script = cluster.dir / "test-only.sbatch"
    script.write_text("#!/bin/bash\ntrue\n")
    result = cluster.run("sbatch", "--test-only", *options, script)
    if message:
        assert result.returncode == 1
        assert any(part in result.stderr for part in message.split("|")), result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_exit_codes_and_scancel(cluster: Cluster) -> None:
    failing = cluster.submit("exit 7")
    cancelled = cluster.submit(SLEEP)
    cluster.wait_for_log(cancelled, "ready")
    cluster.check("scancel", str(cancelled))
    assert cluster.wait_for(failing) == "FAILED"
    assert cluster.job(failing)["ExitCode"] == "7:0"
    assert cluster.wait_for(cancelled) == "CANCELLED"


def test_endings_that_take_their_time(cluster: Cluster) -> None:
    """A time limit, lost nodes and a preemption in one test: each costs up to 30 s of waiting, so they overlap."""
    try:
        late = cluster.submit(SLEEP, "--nodelist=c1")
        declared = cluster.submit(TWO_NODES_SLEEP, "--nodelist=c[1-2]")
        on_two = cluster.submit(TWO_NODES_SLEEP, "--nodelist=c[1,3]")
        preempted = cluster.submit(SLEEP, "--nodelist=c4", "--exclusive", "--partition=low", "--requeue")
        for job in (late, declared, on_two, preempted):
            cluster.wait_for_log(job, "ready")
        cluster.expire(late)
        cluster.kill_node(3)
        preempting = cluster.submit(SLEEP, "--nodelist=c4", "--exclusive", "--partition=high")

        cluster.declare_down(2)
        assert cluster.wait_for(declared, "NODE_FAIL") == "NODE_FAIL"
        # On a busy machine srun may give the step up before slurmctld calls the node lost: then Slurm says FAILED.
        cluster.wait_for(on_two, "NODE_FAIL", "FAILED")
        wait_until(lambda: "DOWN" in cluster.node_state(3), 120, "c3 is down")
        cluster.wait_for(preempting, "RUNNING")
        assert cluster.job(preempted)["Restarts"] == "1"
        assert cluster.wait_for(late) == "TIMEOUT"
    finally:
        cluster.heal()
    assert (cluster.node_state(2), cluster.node_state(3)) == ("IDLE", "IDLE")


def test_a_cut_is_survived_if_it_is_short(cluster: Cluster) -> None:
    if not cluster.has_namespaces:
        pytest.skip("no network namespaces on this machine")
    beat = cluster.dir / "beat"
    job = cluster.submit(f"#SBATCH --mem=100\nwhile sleep 0.1; do date +%s.%N > {beat}; done", "--nodelist=c2")
    try:
        wait_until(beat.exists, 120, "the job runs")
        cluster.cut_node(2)
        during = beat.read_text()
        wait_until(lambda: beat.read_text() != during, 120, "what runs on the node runs on")
        cluster.join_node(2)
        assert cluster.state(job) == "RUNNING"
    finally:
        cluster.heal()


def test_a_job_outlives_the_controller(cluster: Cluster) -> None:
    job = cluster.submit(SLEEP)
    cluster.wait_for_log(job, "ready")
    cluster.stop_ctld()
    assert "DOWN" in cluster.run("scontrol", "ping").stdout
    cluster.start_ctld()
    assert cluster.wait_for(job, "RUNNING") == "RUNNING"
    cluster.heal()


def test_too_much_memory(cluster: Cluster) -> None:
    """A batch script that takes too much is OUT_OF_MEMORY; if a task of srun did, it is FAILED with srun's code."""
    if not cluster.has_cgroups:
        pytest.skip("no cgroups on this machine")
    greedy = f"{sys.executable} -c 'bytearray(400 << 20)'"
    in_batch = cluster.submit(f"#SBATCH --mem=200\n{greedy}")
    in_step = cluster.submit(f"#SBATCH --mem=200\nsrun {greedy}")
    assert cluster.wait_for(in_batch) == "OUT_OF_MEMORY"
    assert cluster.wait_for(in_step) == "FAILED"
    assert "oom-kill" in cluster.log(in_step)


def test_accounting(cluster: Cluster, cluster_dbd: Cluster) -> None:
    """Two clusters at once; one remembers."""
    job = cluster_dbd.submit("exit 3")
    assert cluster_dbd.wait_for(job) == "FAILED"
    ask = ("sacct", "-n", "-X", "-P", "-j", str(job), "-o", "State,ExitCode")
    wait_until(lambda: "FAILED|3:0" in cluster_dbd.run(*ask).stdout, 120, "sacct knows the end of the job")
    assert "disabled" in cluster.run("sacct").stderr

    cluster_dbd.stop_dbd()
    assert cluster_dbd.run(*ask).returncode
    cluster_dbd.start_dbd()
    assert "FAILED|3:0" in cluster_dbd.check(*ask)


def test_the_login_node(login_node: SshServer, cluster: Cluster) -> None:
    nodes = login_node.run("sinfo -h -p batch -o %D")
    assert (nodes.stdout.strip(), nodes.stderr) == ("4", "")
    without_key = ["ssh", "-F", str(login_node.config), "-o", "PubkeyAuthentication=no", "login", "true"]
    assert "Permission denied (publickey)" in subprocess.run(without_key, capture_output=True, text=True).stderr


def test_sshd_breaks_connections_and_comes_back(sshd: SshServer) -> None:
    command = ["ssh", "-F", str(sshd.config), "login", "echo here; sleep 60"]
    session = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert session.stdout is not None and session.stdout.readline() == "here\n"
    assert sshd.run("exit 5").returncode == 5
    sshd.stop()
    assert session.wait(timeout=LIMIT_S) == 255
    assert sshd.run("true").returncode == 255
    sshd.start()
    assert sshd.run("true").returncode == 0


def test_down_leaves_nothing_even_without_its_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    small = Cluster("--nodes", "2", "--net", "no")
    try:
        small.up()
        job = small.submit("(setsid sleep 300 &) ; echo ready; sleep 300")
        small.wait_for_log(job, "ready")
        again = small._call("up")
        assert again.returncode == 1
        assert "runs already" in again.stderr
        small.kill_node(1)
        small.start_node(1)
        for name in ("run", "settings"):
            (small.dir / name).rename(small.dir / f"lost-{name}")
        small.down(remove=False)
        wait_until(lambda: not left_over(small.dir), 120, "nothing left")
        assert small._call("status").returncode == 3
    finally:
        small.down()


def test_the_end_of_the_test_session_ends_its_cluster() -> None:
    cluster = Cluster()
    owner = subprocess.Popen(["sleep", "300"])
    up = subprocess.run(
        [SCRIPT, "--dir", cluster.dir, "up", "--nodes", "1", "--owner", str(owner.pid)], capture_output=True, text=True
    )
    try:
        assert up.stdout == f"export SLURM_CONF={cluster.dir}/slurm.conf\n", up.stderr
        assert left_over(cluster.dir)
        slot = Path(f"/run/slurm-cluster-{cluster.setting('SLOT')}.lock")
        assert _is_held(slot), "another cluster that starts now takes another one"
        owner.kill()
        owner.wait()
        wait_until(lambda: not left_over(cluster.dir), 120, "the cluster is gone")
        wait_until(lambda: not _is_held(slot), 120, "its slot is free")
    finally:
        cluster.down()


def _is_held(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_start_that_fails_cleans_up() -> None:
    cluster = Cluster("--set", "SlurmctldPort=nonsense")
    try:
        with pytest.raises(RuntimeError, match="slurmctld does not start"):
            cluster.up()
        wait_until(lambda: not left_over(cluster.dir), LIMIT_S, "nothing left")
    finally:
        cluster.down()
