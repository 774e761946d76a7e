"""A Slurm cluster of scripts/slurm-cluster, as the tests see it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import LIMIT_S

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "slurm-cluster"

ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT"}


def wait_until(condition: Callable[[], object], timeout: float, what: str, interval: float = 0.1) -> None:
    """Until the condition is true; one that takes long to ask for, such as a launch, is asked for less often."""
    end = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        if condition():
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(max(interval, min(3 * (time.monotonic() - asked), 3)))


class Cluster:
    """Nodes are numbers from 1; node N has the host name cN. Every wait has an end."""

    def __init__(self, *options: str, shared: tuple[Path, ...] = ()) -> None:
        """`options` are those of `slurm-cluster up`; `shared` are paths below /tmp that the nodes see."""
        # Neither $TMPDIR nor pytest's directory: munge wants each parent traversable for everybody, and paths short.
        self.dir = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.dir.chmod(0o755)
        # Jobs run the checkout with the tests' own Python, and both may lie below /tmp.
        self._shared = (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), *shared)
        self._options = options

    @property
    def env(self) -> dict[str, str]:
        """What a client of this cluster needs in its environment."""
        return {"SLURM_CONF": str(self.dir / "client.conf")}

    @property
    def has_namespaces(self) -> bool:
        return self.setting("NET") == "yes"

    @property
    def has_cgroups(self) -> bool:
        return self.setting("CGROUP") == "yes"

    def setting(self, name: str) -> str:
        """What `up` has decided: NODES, NET, SLOT, ..."""
        match = re.search(rf'^declare -g -- {name}="(.*)"$', (self.dir / "settings").read_text(), re.MULTILINE)
        assert match, f"no {name} in the cluster's settings"
        return match[1]

    # The cluster and its nodes

    def up(self) -> None:
        shared = [word for path in self._shared for word in ("--shared", str(path))]
        self._verb("up", "--owner", str(os.getpid()), *self._options, *shared)

    def down(self, remove: bool = True) -> None:
        self._verb("down")
        if remove:
            shutil.rmtree(self.dir)

    def kill_node(self, node: int) -> None:
        """A power cut. Slurm sees it after 10 to 16 s."""
        self._verb("kill-node", str(node))

    def start_node(self, node: int) -> None:
        self._verb("start-node", str(node))

    def cut_node(self, node: int) -> None:
        """Pulls the network cable; what runs on the node runs on."""
        self._verb("cut-node", str(node))

    def join_node(self, node: int) -> None:
        self._verb("join-node", str(node))

    def stop_ctld(self) -> None:
        self._verb("stop-ctld")

    def start_ctld(self) -> None:
        self._verb("start-ctld")

    def stop_dbd(self) -> None:
        self._verb("stop-dbd")

    def start_dbd(self) -> None:
        self._verb("start-dbd")

    def empty(self) -> None:
        """No job is left of tests before this one, and every node is up, for a test that counts either."""
        self.run("scancel", "-u", "root")
        wait_until(
            lambda: not self.check("squeue", "-h") and self._is_idle(), LIMIT_S, "an empty queue, all nodes idle"
        )

    def declare_down(self, node: int) -> None:
        """An administrator takes the node out: NODE_FAIL within 2 s, where kill_node costs 10 to 16 s."""
        self.check("scontrol", "update", f"nodename=c{node}", "state=down", "reason=test")

    def heal(self) -> None:
        """All jobs cancelled, all nodes back: what a test owes the next one."""
        if self.run("scontrol", "ping").returncode:
            self.start_ctld()
        self.run("scancel", "-u", "root")
        for node in range(1, int(self.setting("NODES")) + 1):
            if self.has_namespaces:
                self._call("join-node", str(node))  # fails where there is no node; start-node then makes the link anew
            self._call("start-node", str(node))  # fails where the node runs
        wait_until(self._is_idle, LIMIT_S, "all nodes idle", interval=0.2)

    def node_state(self, node: int) -> str:
        """Slurm's words, such as IDLE, MIXED+PLANNED or DOWN+NOT_RESPONDING."""
        match = re.search(r"\bState=(\S+)", self.check("scontrol", "show", "node", f"c{node}"))
        assert match
        return match[1]

    def _is_idle(self) -> bool:
        """Slurm drains a node whose processes it could not end in time, also while this is waited for."""
        states = dict(
            line.split() for line in self.check("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").splitlines()
        )
        for node, state in states.items():
            if state.startswith(("down", "drain", "drng")):
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
        return set(states.values()) == {"idle"}

    def _call(self, *verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, "--dir", self.dir, *verb], capture_output=True, text=True, timeout=LIMIT_S)

    def _verb(self, *verb: str) -> None:
        result = self._call(*verb)
        if result.returncode:
            raise RuntimeError(f"slurm-cluster {verb[0]}: {result.stderr}")

    # Jobs

    def run(self, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Any command, as on a login node of this cluster."""
        environ = {**os.environ, **self.env, **env}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S)

    def check(self, *command: str | Path) -> str:
        """The standard output of a command that has to succeed."""
        result = self.run(*command)
        if result.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {result.stderr or result.stdout}")
        return result.stdout

    def on_each_node(self, script: str) -> set[str]:
        """The lines that a script of bash says there, each behind its node's name."""
        words = ("--mem=100", "bash", "-c", f'({script}) 2> /dev/null | sed "s/^/$SLURMD_NODENAME /"')
        return set(self.check("srun", f"-N{self.setting('NODES')}", *words).splitlines())

    def submit(self, script: str, *args: str, **env: str) -> int:
        """Submits the text of a batch script (`#!/bin/bash` may be left out); `args` are sbatch's; the job's id."""
        text = script if script.startswith("#!") else f"#!/bin/bash\n{script}"
        with tempfile.NamedTemporaryFile("w", dir=self.dir, suffix=".sbatch") as file:
            file.write(text)
            file.flush()
            # a directory that all nodes see, and that goes away with the cluster and the logs in it
            result = self.run("sbatch", "--parsable", f"--chdir={self.dir}", *args, file.name, **env)
        if result.returncode:
            raise RuntimeError(f"sbatch: {result.stderr}")
        return int(result.stdout.split(";")[0])

    def log(self, job: int) -> str:
        """The output of a job that was submitted without --output."""
        path = self.dir / f"slurm-{job}.out"
        return path.read_text() if path.exists() else ""

    def job(self, job: int) -> dict[str, str]:
        """What `scontrol show job` knows: JobState, Reason, ExitCode, NodeList, Restarts, ..."""
        text = self.check("scontrol", "--oneliner", "show", "job", str(job))
        return dict(re.findall(r"(?:^|\s)([A-Za-z/:]+)=(\S*)", text))

    def state(self, job: int) -> str:
        return self.job(job)["JobState"]

    def wait_for(self, job: int, *states: str, timeout: float = LIMIT_S) -> str:
        """Until the job has one of the states; without any: until it has ended. The state."""

        def reached() -> bool:
            state = self.state(job)
            return state in states if states else state not in ACTIVE

        try:
            wait_until(reached, timeout, f"job {job} {' or '.join(states) or 'ended'}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {self.job(job)}") from None
        return self.state(job)

    def wait_for_log(self, job: int, text: str, timeout: float = LIMIT_S) -> None:
        """Until the job has written this. A job that is RUNNING for Slurm may not have started its script yet."""
        wait_until(lambda: text in self.log(job), timeout, f"{text!r} in the log of job {job}")

    def expire(self, job: int) -> None:
        """Ends the job's time now; it is a TIMEOUT within 30 s. A limit of its own costs up to 90 s."""
        self.check("scontrol", "update", f"jobid={job}", "EndTime=now+1")
