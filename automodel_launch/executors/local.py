"""This machine, through NeMo-Run's LocalExecutor.

NeMo-Run kills what it started when its Experiment is closed, and orphans it when the client is killed (seen with
0.11.1). So what it starts is the node agent, which puts itself into a session of its own and watches for itself
whether the launcher is still there.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, JobError, StillSubmitting
from automodel_launch.executors import agent, nemo, standing, underway
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record, Status
from automodel_launch.remote import gpus
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.remote.shell import LocalShell, Shell

if TYPE_CHECKING:
    from automodel_launch.plan.mounts import Mount
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


_AFTER = "after_attempt"


class LocalMachine:
    """Executor `local`."""

    here = True
    many_nodes = False
    interrupt_stops = True
    poll_s = 0.2
    needed = ()
    way = ()

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """runs/ in the checkout, unless `remote_job_dir` says otherwise."""
        return str(Path(profile.remote_job_dir).expanduser().absolute() if profile.remote_job_dir else workspace.runs)

    def data_dir(self, profile: Profile, workspace: Workspace) -> str:
        """data/ in the checkout."""
        return str(workspace.data)

    def shell(self, profile: Profile) -> Shell:
        """This machine's."""
        return LocalShell()

    def place(self, profile: Profile) -> FileSystem:
        """This machine's file systems."""
        return LOCAL

    def place_of(self, record: Record) -> FileSystem:
        """This machine's file systems."""
        return LOCAL

    def processes(self, profile: Profile) -> int:
        """`nproc_per_node`; "auto" is the number of GPUs, or 2 on a CPU; default: `gpus_per_node`."""
        wanted = profile.nproc_per_node
        if wanted is None:
            wanted = profile.gpus_per_node or "auto"
        return wanted if isinstance(wanted, int) else gpus.count() or gpus.CPU_PROCESSES

    def image(self, profile: Profile, source: str = "profile") -> str | None:
        """No container here."""
        return None

    def mounts(self, plan: Plan, environ: Mapping[str, str]) -> list[Mount]:
        """No container here."""
        return []

    def agent(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """An attached job ends with the command that started it; one from --batch outlives it."""
        python = plan.profile.python or sys.executable
        return agent.spec(
            plan, environ, python=python, port=plan.profile.rdzv_port, stop_with_parent=plan.mode == "run"
        )

    def script(self, plan: Plan) -> str:
        """A bash script that becomes the node agent, which detaches itself."""
        start = [
            sys.executable,
            f"{plan.job_dir}/{contract.NODE_AGENT}",
            "run",
            f"{plan.job_dir}/{contract.AGENT}",
            "--detach",
        ]
        return f"#!/usr/bin/env bash\n# job {plan.job_id}\n{standing.guard(plan.job_dir)}exec {shlex.join(start)}\n"

    def submit_command(self, plan: Plan) -> str:
        """NeMo-Run's LocalExecutor runs it."""
        return f"bash {shlex.quote(f'{plan.job_dir}/{contract.SCRIPT}')}"

    def address(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The job's directory says it all."""
        return {}

    def find(self, record: Record) -> dict[str, Any] | None:
        """It was started if its agent has reported; of a later attempt than the last one where it is being resumed."""
        busy = underway.here(record.job_dir)  # asked first: the agent reports before it is let go
        node = JobDir(Path(record.job_dir)).node(0)
        after = record.handle.get(_AFTER)
        if node is not None and (after is None or int(node.get("attempt") or 0) > int(after)):
            return _handle(record.job_dir)
        if busy:
            raise StillSubmitting(f"{record.job_id}: its launcher has ended; what it has started begins.")
        return None

    def submit(self, plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
        """Start the agent.

        Raises:
            ClusterError: it did not start.
        """
        output = nemo.off_the_main_thread(lambda: _start(plan, workspace, environ))
        handle = _handle(plan.job_dir)
        if handle is None:
            raise ClusterError(f"job {plan.job_id} did not start: {output or 'no output'}")
        return handle

    def status(self, record: Record) -> Status:
        """From exit.json, else from the agent's heartbeat and its process."""
        return JobDir(Path(record.job_dir)).status()

    def cancel(self, record: Record, now: bool = False) -> str | None:
        """SIGTERM to the agent, which lets the ranks save; a second one makes it kill them.

        Raises:
            JobError: the job does not run, or not on this machine.
        """
        job_dir = JobDir(Path(record.job_dir))
        pid = job_dir.agent_pid()
        if pid is None:
            raise JobError(f"{record.job_id} does not run here: {job_dir.status().state}.")
        os.kill(pid, signal.SIGTERM)
        if now:
            time.sleep(1.2)  # the agent takes a second signal within a second for the same one
            if job_dir.agent_pid() == pid:
                os.kill(pid, signal.SIGTERM)
        return None

    def again(self, record: Record) -> dict[str, Any]:
        """With the number of the last attempt."""
        return {_AFTER: int((JobDir(Path(record.job_dir)).node(0) or {}).get("attempt", -1))}

    def resume(self, record: Record, secrets: bytes | None) -> dict[str, Any]:
        """A further attempt, detached; its secrets are in its environment.

        Raises:
            ClusterError: it did not start.
        """
        number = int(record.handle[_AFTER]) + 1
        environ = {**os.environ, contract.ATTEMPT_VAR: str(number), contract.WATCH_PID_VAR: "1"}
        script = shlex.quote(f"{record.job_dir}/{contract.SCRIPT}")
        start = ["bash", "-c", f"{underway.holding(record.job_dir, here=True)}exec bash {script}"]
        done = subprocess.run(start, env=environ, capture_output=True, text=True, check=False, start_new_session=True)
        handle = _handle(record.job_dir)
        if done.returncode or handle is None:
            raise ClusterError(f"{record.job_id} did not start again: {done.stderr.strip() or 'no output'}")
        return handle


def _handle(job_dir: str) -> dict[str, Any] | None:
    node = JobDir(Path(job_dir)).node(0)
    return None if node is None else {"pid": node.get("agent_pid"), "host": node.get("host")}


def _start(plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> str:
    """Start the script with exactly `environ`; what it said."""
    changed = {name: value for name, value in environ.items() if os.environ.get(name) != value}
    unset = "".join(f" -u {shlex.quote(name)}" for name in os.environ if name not in environ)
    with nemo.experiment(plan.run_name, plan.job_id, workspace.nemo_run_home / plan.profile_name) as (run, exp):
        # exec: the agent watches its parent, the launcher
        script = run.Script(
            inline=f"{underway.holding(plan.job_dir, here=True)}exec env{unset} {plan.submit}", env=changed
        )
        exp.add(script, executor=run.LocalExecutor(), name="job")
        exp.run(detach=False)  # returns when the script is started; closing waits for its end, a fork away
    return nemo.output(exp)


EXECUTOR = LocalMachine()
