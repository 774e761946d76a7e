"""What pyxis and enroot write when a container cannot be made, in one line."""

from __future__ import annotations

import pytest

from automodel_launch.jobs import container_errors

IMPORT = """\
slurmstepd: error: pyxis: child 71 failed with error code: 1
slurmstepd: error: pyxis: failed to import docker image
slurmstepd: error: pyxis: printing enroot log file:
slurmstepd: error: pyxis:     [INFO] Querying registry for permission grant
slurmstepd: error: pyxis:     [ERROR] URL https://reg.io/v2/a/manifests/1 returned error code: 404 Not Found
slurmstepd: error: spank: required plugin spank_pyxis.so: task_init() failed with rc=-1
"""
# The script's own line, and an error that NeMo-Run's script goes on after, stand before it.
UNSET = """\
slurmstepd-c1: error: execve(): hostname: No such file or directory
srun --container-mounts "${WORK:?is not set, and mounts or container_image name it}"/x:/b python3
/var/spool/slurmd/job00011/slurm_script: line 40: WORK: is not set, and mounts or container_image name it
"""


@pytest.mark.parametrize(
    ("log", "begin", "advice"),
    [
        (IMPORT, "URL https://reg.io/v2/a/manifests/1 returned error code: 404", "name right"),
        ("slurmstepd: error: pyxis:     [ERROR] No such file or directory: /x.sqsh\n", "No such file", "file whole"),
        ("slurmstepd: error: execve(): python3: No such file or directory\n", "execve()", "needs sh and a Python"),
        ("slurmstepd: error: execve(): apptainer: No such file or directory\n", "execve()", "container_runtime"),
        ("error: pyxis: mount image /x/a.sqsh: Input/output error\n", "mount image", "file whole"),
        (UNSET, "WORK is not set", "write the path out"),
        ("slurmstepd-c1: error: pyxis: couldn't chdir to /nope\n", "couldn't chdir", ""),
    ],
)
def test_the_line_that_tells_most(log: str, begin: str, advice: str) -> None:
    words = container_errors.words(log)
    assert words is not None and words.startswith(begin) and advice in words


@pytest.mark.parametrize(
    "log",
    [
        "",
        "srun: error: c1: task 0: Exited with exit code 1\n",
        "+ srun --container-image x\n",
        "slurmstepd-c1: error: execve(): hostname: No such file or directory\n",
    ],
)
def test_no_container_is_spoken_of(log: str) -> None:
    assert container_errors.words(log) is None
