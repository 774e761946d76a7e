"""This machine, in a container of Docker's (or of podman's, whose socket DOCKER_HOST names).

Not through NeMo-Run's DockerExecutor (0.11.1), of which nothing would remain but one call of the Docker SDK; see
docs/architecture.md. The script is one `docker run`, which a person can read and repeat; it detaches the container,
and we follow its files as with any other executor. Docker removes the container when it ends: how it ended stands in
exit.json.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch import contract
from automodel_launch.errors import ClusterError, JobError, ProfileError, StillSubmitting
from automodel_launch.executors import agent, exported, inside, underway
from automodel_launch.executors.containers import container
from automodel_launch.executors.docker import engine, script, trial
from automodel_launch.executors.docker import exported as exported_
from automodel_launch.executors.inside import Inside, Wanted
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.executors.on_this_machine import OnThisMachine, ends_when_told_again, tell_killed
from automodel_launch.jobs.jobdir import JobDir, end_by_node, from_record
from automodel_launch.jobs.records import Record, Status
from automodel_launch.plan.mounts import Mount
from automodel_launch.remote import gpus
from automodel_launch.remote.shell import LocalShell

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

START_S, AGENT_S = 120.0, 20.0
KILL_S = 10.0


class Docker(OnThisMachine):
    """Executor `docker`."""

    here = False  # its Python and packages are the image's
    interrupt_stops = True
    resumable = False
    poll_s = 0.5
    needed = ("container",)

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """runs/ in the checkout, unless `remote_job_dir` says otherwise."""
        root = Path(profile.remote_job_dir).expanduser().absolute() if profile.remote_job_dir else workspace.runs
        if not str(root).isprintable() or ":" in str(root):
            raise ProfileError(f"remote_job_dir = {str(root)!r}: a container cannot have this path.")
        return str(root)

    def processes(self, profile: Profile) -> int:
        """`nproc_per_node`; "auto" is the number of GPUs, or 2 on a CPU; default: `gpus_per_node`."""
        wanted = profile.nproc_per_node or profile.gpus_per_node or "auto"
        if wanted == "auto":
            wanted = profile.gpus_per_node or (0 if profile.gpus_per_node == 0 else gpus.count())
        return wanted or gpus.CPU_PROCESSES

    def image(self, profile: Profile, source: str = "profile") -> str | None:
        """`container_image`, by default the recipe's own image."""
        image = container.image_of(profile, source)
        return image.for_docker if image else None

    def mounts(self, plan: Plan, environ: Mapping[str, str]) -> list[Mount]:
        """The profile's, then the job root, the data and the job's directory."""
        return script.mounts_of(plan, environ)

    def job_python(self, plan: Plan) -> JobPython | NotAtHand:
        """In a container of the job's image, where that is on this machine."""
        return trial.of(plan)

    def agent(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The container outlives the launcher; it has nothing of this shell's environment.

        Raises:
            ProfileError: there is no image, or a key that Docker cannot carry out.
        """
        script.image(plan)
        python, port = plan.profile.python or "python3", plan.profile.rdzv_port
        return agent.spec(plan, environ, python=python, port=port, stop_with_parent=False, inherits=False)

    def script(self, plan: Plan) -> str:
        """A bash script that starts the container; nothing of env, env_vars or secrets stands in it."""
        return script.text(plan)

    def submit_command(self, plan: Plan) -> str:
        """The script detaches the container."""
        return f"bash {shlex.quote(f'{plan.job_dir}/{contract.SCRIPT}')}"

    def exported(self, plan: Plan) -> tuple[str, str]:
        """`run`, which starts the container and waits for it."""
        return "run", exported_.text(plan)

    def plain(self, plan: Plan, files: str) -> str:
        """Not here."""
        raise exported.no_plain(plan)

    def address(self, plan: Plan, environ: Mapping[str, str]) -> dict[str, Any]:
        """The container's name and its engine."""
        handle = {"container": script.name(plan), "stop_grace": plan.profile.stop_grace}
        return handle | {name: environ[name] for name in engine.WHICH if environ.get(name)}

    def find(self, record: Record) -> dict[str, Any] | None:
        """It was started if its container is there, or its agent has reported."""
        busy = underway.here(record.job_dir)
        if JobDir(record.job_dir).node(0) is not None or engine.state(record.handle) is not None:
            return record.handle
        if busy:
            raise StillSubmitting(f"{record.job_id}: its launcher has ended; `docker run` is still at it.")
        return None

    def ready(self) -> str | None:
        """None: Docker's client starts them."""
        return None

    def submit(self, plan: Plan, workspace: Workspace, environ: Mapping[str, str]) -> dict[str, Any]:
        """Run the script that lies in the job's directory, and wait until its agent has reported.

        Raises:
            ClusterError: the image cannot be had, or the container does not start.
        """
        image = script.image(plan)
        handle = self.address(plan, environ)
        engine.pull(handle, image)
        done = engine.run(handle, underway.holding(plan.job_dir, here=True) + plan.submit, timeout=START_S)
        if done.code:
            raise ClusterError(f"Docker did not start {plan.job_id}: {engine.brief(done)}", engine.advice(done.err))
        end = time.monotonic() + AGENT_S
        while JobDir(plan.job_dir).node(0) is None and time.monotonic() < end:
            if engine.state(handle) is None and JobDir(plan.job_dir).node(0) is None:
                fix = "the script's `docker run`, without --detach, tells more"
                raise ClusterError(f"{plan.job_id}: the container of {image} ended before its agent reported.", fix)
            time.sleep(0.05)
        ended = JobDir(plan.job_dir).exit_record() or {}
        if ended.get("code") == contract.NOT_FOUND and contract.NO_PYTHON in str(ended.get("error")):
            fix = "agent_python = a path in the image, in the profile"
            raise ClusterError(f"{plan.job_id}: {image} has {ended['error']}", fix)
        return handle

    def status(self, record: Record) -> Status:
        """The job's own record; before there is one, whether its container is there."""
        job = JobDir(record.job_dir)
        try:
            state = None if job.exit_record() else engine.state(record.handle)
        except ClusterError as error:
            return Status("UNKNOWN", error=error.message)
        ended = job.exit_record()  # asked last: the agent writes it before its container goes
        if ended:
            return from_record(ended)
        node = job.node(0) or {}
        if state is not None:
            return Status("RUNNING", step=node.get("step"), started=node.get("started"))
        with contextlib.suppress(OSError):  # no agent was there to remove it
            Path(record.job_dir, contract.SECRETS).unlink(missing_ok=True)
        if not job.place.names(record.job_dir):
            return Status("UNKNOWN", error="its directory is gone", forgotten=True)
        own = end_by_node(node)
        if own:
            return from_record(own)
        return Status("FAILED", 1, "its container ended without a record (killed?)", step=node.get("step"))

    def cancel(self, record: Record, now: bool = False) -> str | None:
        """SIGTERM to the agent, which lets the ranks save; a second one makes it kill them.

        Raises:
            JobError: the container does not run.
        """
        self._signal(record)
        if not now:
            return None

        def again() -> None:
            with contextlib.suppress(JobError):
                self._signal(record)

        if not ends_when_told_again(lambda: engine.state(record.handle) is not None, again, KILL_S):
            removed = engine.run(record.handle, f"docker rm --force {shlex.quote(record.handle['container'])}")
            if removed.code == 0:
                tell_killed(record, "its node agent")
        return None

    def inside(self, record: Record, wanted: Wanted) -> Inside:
        """In its container, by `docker exec`."""
        options = ["--interactive", *(["--tty"] if wanted.terminal else [])]
        command = inside.lines(record, wanted, [f"{record.job_dir}/{contract.CODE}"])
        line = ["docker", "exec", *options, str(record.handle["container"]), "bash", "-c", command]
        return Inside(LocalShell(), f"{engine.chosen(record.handle)}exec {shlex.join(line)}\n", wanted.terminal)

    def again(self, record: Record) -> dict[str, Any]:
        """Not here; see `resume`."""
        return self.resume(record, None)

    def resume(self, record: Record, secrets: bytes | None) -> dict[str, Any]:
        """Not here.

        Raises:
            JobError: always; a new job of the same run does the same.
        """
        raise JobError(
            f"{record.job_id} ran in a container that is gone.",
            "launch it as before: it goes on from its last checkpoint",
        )

    def _signal(self, record: Record) -> None:
        done = engine.run(record.handle, f"docker kill --signal TERM {shlex.quote(record.handle['container'])}")
        if done.code:
            raise JobError(f"{record.job_id}: docker kill: {engine.brief(done)}")


EXECUTOR = Docker()
