"""This machine, through NeMo-Run's LocalExecutor.

NeMo-Run kills what it started when its Experiment is closed, and orphans it when the client is killed (seen with
0.11.1). So what it starts is the node agent, which puts itself into a session of its own and watches for itself
whether the launcher is still there.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, JobError, StillSubmitting
from automodel_launch.executors import agent, exported, inside, nemo, standing, underway
from automodel_launch.executors.inside import Inside, Wanted
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.executors.on_this_machine import OnThisMachine, ends_when_told_again, tell_killed
from automodel_launch.jobs.jobdir import JobDir, is_elsewhere
from automodel_launch.jobs.records import DIRECTORY_GONE, Record, Status
from automodel_launch.remote import gpus, processes
from automodel_launch.remote.filesystem import LOCAL
from automodel_launch.remote.shell import LocalShell

if TYPE_CHECKING:
    from automodel_launch.plan.mounts import Mount
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


_AFTER = "after_attempt"
REACTS_S = 15.0  # within which an agent that was told twice has killed its ranks and written that down
SILENT_S = 120.0  # an agent reports every few seconds; it may have waited for a full disk in between


class LocalMachine(OnThisMachine):
    """Executor `local`."""

    here = True
    interrupt_stops = True
    resumable = True
    poll_s = 0.2
    needed = ()

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """runs/ in the checkout, unless `remote_job_dir` says otherwise."""
        return str(Path(profile.remote_job_dir).expanduser().absolute() if profile.remote_job_dir else workspace.runs)

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

    def job_python(self, plan: Plan) -> JobPython | NotAtHand:
        """As it is: the job has this shell's variables."""
        start = shlex.quote(plan.agent["python"])
        return JobPython(LocalShell(), start, "on this machine", own=True, parent=tempfile.gettempdir())

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

    def exported(self, plan: Plan) -> tuple[str, str]:
        """The agent in the foreground."""
        return "run", exported.local(plan)

    def plain(self, plan: Plan, files: str) -> str:
        """Not here."""
        raise exported.no_plain(plan)

    def address(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """How long it may take to end; the rest is in the job's directory."""
        return {"stop_grace": plan.profile.stop_grace}

    def find(self, record: Record) -> dict[str, Any] | None:
        """It was started if its agent has reported; of a later attempt than the last one where it is being resumed."""
        busy = underway.here(record.job_dir)  # asked first: the agent reports before it is let go
        node = JobDir(Path(record.job_dir)).node(0)
        after = record.handle.get(_AFTER)
        if node is not None and (after is None or int(node.get("attempt") or 0) > int(after)):
            return _handle(record.job_dir, record.handle)
        if busy:
            raise StillSubmitting(f"{record.job_id}: its launcher has ended; what it has started begins.")
        return None

    def ready(self) -> str | None:
        """NeMo-Run's version."""
        return nemo.require()

    def submit(self, plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
        """Start the agent.

        Raises:
            ClusterError: it did not start.
        """
        output = nemo.off_the_main_thread(lambda: _start(plan, workspace, environ))
        handle = _handle(plan.job_dir, self.address(plan, environ))
        if handle is None:
            raise ClusterError(f"job {plan.job_id} did not start: {output or 'no output'}")
        return handle

    def status(self, record: Record) -> Status:
        """From exit.json, else from the agent's heartbeat and its process; that alone where the directory is gone."""
        job_dir = JobDir(Path(record.job_dir))
        now = job_dir.status()
        if now.forgotten and _started(record) is not None:
            advice = f"python launch.py cancel {record.job_id} ends it"
            return Status(contract.RUNNING, reason=DIRECTORY_GONE, advice=advice)
        pid = job_dir.agent_pid() if now.state == contract.RUNNING else None
        return now if pid is None else _watched(now, pid, job_dir)

    def cancel(self, record: Record, now: bool = False) -> str | None:
        """SIGTERM to the agent, which lets the ranks save; a second one makes it kill them. One that does not react to
        that is killed, with all that it has started. Of a job of another user of the group a stop file says the same.

        Raises:
            JobError: the job does not run, or not on this machine; or it is another user's, and may not be ended so.
        """
        pid = _agent(record)
        if pid is None:
            raise JobError(f"{record.job_id} does not run here: {self.status(record).state}.")
        try:
            _end(pid)
        except PermissionError:
            return _ask_by_file(record, now)
        if now and not ends_when_told_again(lambda: _agent(record) == pid, lambda: _end(pid), REACTS_S):
            processes.kill_with_all_below(pid)
            tell_killed(record, "its node agent")
        return None

    def inside(self, record: Record, wanted: Wanted) -> Inside:
        """In its directory, with a rank's environment."""
        return Inside(
            LocalShell(), inside.lines(record, wanted, [f"{record.job_dir}/{contract.CODE}"]), wanted.terminal
        )

    def again(self, record: Record) -> dict[str, Any]:
        """With the number of the last attempt."""
        rest = {key: value for key, value in record.handle.items() if key == "stop_grace"}
        return {**rest, _AFTER: int((JobDir(Path(record.job_dir)).node(0) or {}).get("attempt", -1))}

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
        handle = _handle(record.job_dir, record.handle)
        if done.returncode or handle is None:
            raise ClusterError(f"{record.job_id} did not start again: {done.stderr.strip() or 'no output'}")
        return handle


def _handle(job_dir: str, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The agent's process, so that it is found when its directory is gone, beside what was known before."""
    node = JobDir(Path(job_dir)).node(0)
    if node is None:
        return None
    rest = {key: value for key, value in known.items() if key != _AFTER}
    where = {key: node.get(key) for key in ("host", "machine")}
    return {**rest, "pid": node.get("agent_pid"), "start": node.get("agent_start"), **where}


def _agent(record: Record) -> int | None:
    """The agent's process, if it runs on this machine now."""
    job_dir = JobDir(Path(record.job_dir))
    return _started(record) if job_dir.node(0) is None else job_dir.agent_pid()


def _started(record: Record) -> int | None:
    """The same by the job's record: its directory is gone. None where that was written by an earlier version."""
    pid, start = record.handle.get("pid"), record.handle.get("start")
    if not isinstance(pid, int) or start is None or is_elsewhere(record.handle):
        return None
    return pid if processes.is_same(pid, start) else None


def _watched(now: Status, pid: int, job_dir: JobDir) -> Status:
    """A job that runs, and whether its agent still looks after it."""
    seen = (job_dir.node(0) or {}).get("time")
    if processes.is_stopped(pid):
        reason = f"its node agent, process {pid}, was stopped (SIGSTOP): nobody looks after the training"
        return replace(now, reason=reason, advice=f"kill -CONT {pid} lets it go on")
    if isinstance(seen, int | float) and time.time() - seen > SILENT_S:
        reason = f"its node agent, process {pid}, has not reported for more than {SILENT_S:.0f} s: its step is that old"
        return replace(now, reason=reason, advice="is the file system of its directory full, or away?")
    return now


def _ask_by_file(record: Record, now: bool) -> str:
    """The agent sees the file within seconds, as one that a person makes."""
    whose = f"{record.job_id} is another user's, whose processes you cannot signal"
    if now:
        raise JobError(f"{whose}.", "without --now it is asked to stop by a file; or its owner ends it")
    path = f"{record.job_dir}/{contract.STOP}"
    try:
        LOCAL.create(path, "")
    except ClusterError as error:
        raise JobError(f"{whose}; {error.message}", f"its owner: python launch.py cancel {record.job_id}") from error
    return f"{whose}: it stops when its agent sees {path}"


def _end(pid: int) -> None:
    """SIGTERM, also to one that is stopped."""
    for number in (signal.SIGTERM, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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
        exp.run(detach=False)  # returns when the script is started; its end is a fork away
        nemo.wait(exp)
    return nemo.output(exp)


EXECUTOR = LocalMachine()
