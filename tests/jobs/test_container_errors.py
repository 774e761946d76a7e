"""What pyxis, enroot and apptainer write when a container cannot be made, in one line.

`pyxis_logs/` is what pyxis 0.24.0 and enroot 4.1.2 wrote for faults that were made on a cluster of two nodes.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from automodel_launch.jobs import container_errors, start_logs
from automodel_launch.jobs.container_errors import Reason

REAL = Path(__file__).parent / "pyxis_logs"
NODES = 1024
IMPORT = """\
slurmstepd: error: pyxis: child 71 failed with error code: 1
slurmstepd: error: pyxis: failed to import docker image
slurmstepd: error: pyxis: printing enroot log file:
slurmstepd: error: pyxis:     [INFO] Querying registry for permission grant
slurmstepd: error: pyxis:     [ERROR] URL https://reg.io/v2/a/manifests/1 returned error code: 404 Not Found
slurmstepd: error: spank: required plugin spank_pyxis.so: task_init() failed with rc=-1
"""
HOOK = """\
slurmstepd-n7: error: pyxis: container start failed with error code: 1
slurmstepd-n7: error: pyxis: printing enroot log file:
slurmstepd-n7: error: pyxis:     site hook: cannot find the token of this project
slurmstepd-n7: error: pyxis:     [ERROR] /etc/enroot/hooks.d/60-site.sh exited with return code 3
slurmstepd-n7: error: spank: required plugin spank_pyxis.so: task_init() failed with rc=-1
"""
# The script's own line, and an error that NeMo-Run's script goes on after, stand before it.
UNSET = """\
slurmstepd-c1: error: execve(): hostname: No such file or directory
srun --container-mounts "${WORK:?is not set, and mounts or container_image name it}"/x:/b python3
/var/spool/slurmd/job00011/slurm_script: line 40: WORK: is not set, and mounts or container_image name it
"""


def _reason(folder: Path, text: str, name: str = "log-a.1_5_0.out") -> Reason | None:
    """As `status` has it: the step's log is read where the job was."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / name).write_text(text)
    script = f"id=5\n{start_logs.question(str(folder))}"
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    found = [line.removeprefix("own step| ") for line in out.splitlines() if line.startswith("own step| ")]
    return container_errors.reason("", found)


@pytest.mark.parametrize(
    ("name", "begin", "advice"),
    [
        ("corrupt-image", "lzo uncompress failed with error code -4 (image /shared/images/hole.sqsh, on n1)", "again"),
        ("cut-image", "Read on filesystem failed because EOF (image /shared/images/cut.sqsh, on n1)", "cut short"),
        ("helpers-without-capabilities", "enroot-aufs2ovlfs: failed to set capabilities: Operation not", "operators"),
        ("missing-image", "No such file or directory: /shared/images/nope.sqsh (on n1)", "file system of all nodes"),
        ("mount-below-read-only", "enroot-mount: failed to create directory: /scratch/", "a mount's target lies in"),
        (
            "mount-source-missing",
            "--container-mounts: source path does not exist: /home/u/only-here (on n1)",
            "make it",
        ),
        ("node-disk-full", "Write on output file failed because No space left on device (image", "`exclude` the node"),
        ("not-an-image", "Invalid image format: /shared/images/garbage.sqsh (on n1)", "import it again"),
        ("registry-404", "URL http://registry.example:5000/v2/lab/absent/manifests/1 returned error", "name and tag"),
        (
            "registry-unreachable",
            "curl: (6) Could not resolve host: nosuch.invalid (image",
            "cannot reach",
        ),
    ],
)
def test_the_telling_line_of_what_a_real_pyxis_wrote(tmp_path: Path, name: str, begin: str, advice: str) -> None:
    reason = _reason(tmp_path, (REAL / f"{name}.txt").read_text())
    assert reason is not None and reason.of_step
    assert reason.text.startswith(begin) and advice in reason.text
    assert {path.stem for path in REAL.iterdir()} >= {name} and len(list(REAL.iterdir())) == 10


@pytest.mark.parametrize(
    ("log", "begin", "advice"),
    [
        (IMPORT, "URL https://reg.io/v2/a/manifests/1 returned error code: 404", "name and tag"),
        (IMPORT.replace("404 Not Found", "401 Unauthorized"), "URL https://reg.io", ".credentials"),
        (IMPORT.replace("404 Not Found", "429 "), "URL https://reg.io", "image_cache"),
        (HOOK, "site hook: cannot find the token of this project (on n7)", ""),
        ("slurmstepd: error: execve(): python3: No such file or directory\n", "execve()", "needs sh and a Python"),
        ("slurmstepd: error: execve(): apptainer: No such file or directory\n", "execve()", "container_runtime"),
        ("slurmstepd-c1: error: pyxis: couldn't chdir to /nope: No such file or directory\n", "couldn't", "workdir"),
        ("slurmstepd: error: pyxis: container exited too soon\n", "container exited", "--no-container-entrypoint"),
        ("slurmstepd-c1: error: pyxis: child 9 failed with error code: 1\n", "child 9 failed", ""),
        ("FATAL:   could not open image /x.sif: no such file or directory\n", "could not open image /x.sif", "file"),
        (
            "INFO:    Converting SIF file to temporary sandbox...\nFATAL:   container creation failed: mount /d->/d "
            "error: while mounting /d: mount source /d doesn't exist\n",
            "container creation failed",
            "make it, on all nodes",
        ),
        (
            "FATAL:   While making image from oci registry: error fetching image: manifest unknown\n",
            "While making image",
            "name and tag",
        ),
        (
            "slurmstepd-n2: error: couldn't chdir to `/home/u/j': No such file or directory: going to /tmp instead\n",
            "couldn't chdir to",
            "remote_job_dir",
        ),
        ("sh: 0: cannot open recipes/node_agent.sh: No such file\n", "sh: 0: cannot open", "remote_job_dir"),
    ],
)
def test_the_line_that_tells_most(tmp_path: Path, log: str, begin: str, advice: str) -> None:
    for reason in (_reason(tmp_path, log), container_errors.reason(log)):  # srun's own words are in the batch log
        assert reason is not None and reason.text.startswith(begin) and advice in reason.text


def test_a_variable_of_mounts_that_is_not_set() -> None:
    reason = container_errors.reason(UNSET)
    assert reason and reason.text.startswith("WORK is not set") and "write the path out" in reason.text


def test_one_node_of_a_thousand_with_a_full_disk_is_found_behind_all_others(tmp_path: Path) -> None:
    other = (REAL / "mount-below-read-only.txt").read_text().replace("Read-only file system", "site's own words")
    full = (REAL / "node-disk-full.txt").read_text().replace("-n1:", "-n1024:")
    text = "".join(
        other.replace("-n1:", f"-n{node}:").replace("-n2:", f"-n{node}:").replace("pyxis_47", f"pyxis_{node}")
        for node in range(1, NODES)
    )
    reason = _reason(tmp_path, text + full)
    assert reason and "No space left on device" in reason.text and "on n1024)" in reason.text
    alone = _reason(tmp_path, text)
    assert alone and "site's own words (on n1 and 1022 other nodes)" in alone.text


def test_the_last_start_counts(tmp_path: Path) -> None:
    _reason(tmp_path, (REAL / "registry-404.txt").read_text())
    (tmp_path / "logs" / "log-a.1_5_0.out").rename(tmp_path / "logs" / "log-a.1_4_0.out")  # another Slurm job's
    reason = _reason(tmp_path, (REAL / "node-disk-full.txt").read_text(), "log-a.1_5_1.out")
    assert reason and "No space left" in reason.text
    present = ["log-a.1_5_9.out", "log-a.1_5_10.out", "log-a.1_4_11.out", "sbatch_a.1_5.out", "rank-0.log"]
    assert start_logs.names(present) == ["logs/log-a.1_5_10.out", "logs/sbatch_a.1_5.out"]
    assert start_logs.names(["rank-0.log", "agent-0.log"]) == []


@pytest.mark.parametrize(
    "log",
    [
        "",
        "srun: error: c1: task 0: Exited with exit code 1\n",
        "+ srun --container-image x\n",
        "pyxis: importing docker image: reg.io#a:1\npyxis: imported docker image: reg.io#a:1\n",
        "slurmstepd-c1: error: execve(): hostname: No such file or directory\n",
        "slurmstepd-c1: error: *** STEP 5.0 ON c1 CANCELLED AT 2026-01-01T00:00:00 ***\n",
        "[node_agent 0 2026-01-01 00:00:00] startup: 2 lines\nNo space left on device\n404 Not Found of pyxis\n",
    ],
)
def test_no_container_is_spoken_of(tmp_path: Path, log: str) -> None:
    assert container_errors.reason(log) is None
    assert _reason(tmp_path, log) is None
