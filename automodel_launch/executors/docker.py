"""This machine, in a container of Docker's (or of podman's, whose socket DOCKER_HOST names).

Not through NeMo-Run's DockerExecutor (0.11.1), of which nothing would remain but one call of the Docker SDK; see
docs/architecture.md. The script is one `docker run`, which a person can read and repeat; it detaches the container,
and we follow its files as with any other executor. Docker removes the container when it ends: how it ended stands in
exit.json.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automodel_launch.errors import ClusterError, JobError, ProfileError
from automodel_launch.executors import agent
from automodel_launch.executors.containers import container, mounts
from automodel_launch.executors.containers.mounts import Mount
from automodel_launch.executors.local import CPU_PROCESSES
from automodel_launch.executors.sbatch_validation import NEMO_RUN
from automodel_launch.jobs.jobdir import JobDir, from_record
from automodel_launch.jobs.records import Record, Status
from automodel_launch.plan import secrets
from automodel_launch.remote import gpus
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.remote.shell import Done, LocalShell, Shell

if TYPE_CHECKING:
    from automodel_launch.doctor.diagnosis import Line
    from automodel_launch.plan.finding import Finding
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

AGENT_PYTHON = "python3"  # of the image; any Python from 3.8 on, with nothing installed
SHM_SIZE = "16g"  # Docker's own 64 MB end PyTorch's data loaders with a bus error; memory is taken only when used
RUN_LABEL, JOB_LABEL = "automodel-launch.run", "automodel-launch.job"  # directories, so unique on this machine
ENGINE = ("DOCKER_HOST", "DOCKER_CONTEXT")  # which engine it was
START_S, AGENT_S = 120.0, 20.0
KILL_S = 10.0
_GONE = ("No such container", "No such object", "no such container", "is not running")


class Docker:
    """Executor `docker`."""

    here = False  # its Python and packages are the image's
    many_nodes = False
    interrupt_stops = True
    poll_s = 0.5

    def job_root(self, profile: Profile, workspace: Workspace) -> str:
        """runs/ in the checkout, unless `remote_job_dir` says otherwise."""
        root = Path(profile.remote_job_dir).expanduser().absolute() if profile.remote_job_dir else workspace.runs
        if not str(root).isprintable() or ":" in str(root):
            raise ProfileError(f"remote_job_dir = {str(root)!r}: a container cannot have this path.")
        return str(root)

    def data_dir(self, profile: Profile, workspace: Workspace) -> str:
        """data/ in the checkout, which the container sees at its own path."""
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
        wanted = profile.nproc_per_node or profile.gpus_per_node or "auto"
        if wanted == "auto":
            wanted = profile.gpus_per_node or (0 if profile.gpus_per_node == 0 else gpus.count())
        return wanted or CPU_PROCESSES

    def image(self, profile: Profile) -> str | None:
        """`container_image`, by default the recipe's own image."""
        image = container.image_of(profile, "profile")
        return image.for_docker if image else None

    def mounts(self, plan: Plan) -> list[Mount]:
        """The profile's, then the job root, the data and the job's directory."""
        return _mounts(plan)

    def agent(self, plan: Plan) -> dict[str, Any]:
        """The container outlives the launcher; it has nothing of this shell's environment.

        Raises:
            ProfileError: there is no image, or a key that Docker cannot carry out.
        """
        _image(plan)
        _mounts(plan)
        python = plan.profile.python or "python3"
        return agent.spec(plan, python=python, port=plan.profile.rdzv_port, stop_with_parent=False, inherits=False)

    def script(self, plan: Plan) -> str:
        """A bash script that starts the container; nothing of env, env_vars or secrets stands in it."""
        options = " \\\n  ".join([*_options(plan), *(f"--mount {_q(_mount_option(m))}" for m in _mounts(plan))])
        command = shlex.join(
            [AGENT_PYTHON, f"{plan.job_dir}/code/recipes/node_agent.py", "run", f"{plan.job_dir}/agent.json"]
        )
        return f"""#!/usr/bin/env bash
# job {plan.job_id}: starts its container, which Docker removes at its end
set -euo pipefail
# files belong to this user; with a rootless engine that is who root inside is
user=$(id -u):$(id -g)
if [[ $(docker info --format '{{{{.SecurityOptions}}}}') == *rootless* ]]; then user=0:0; fi
mkdir -p {_q(plan.data_dir)}
exec docker run --detach --rm \\
  --user "$user" --env USER="$(id -un)" --env HOME=/tmp \\
  {options} \\
  {_q(_image(plan))} \\
  {command}
"""

    def questions(self, plan: Plan) -> Iterator[Finding]:
        """The engine, the image, the mounts' sources, other jobs of the run."""
        from automodel_launch.checks import docker

        return docker.findings(plan, LocalShell(), _image(plan), _mounts(plan), f"label={RUN_LABEL}={plan.run_dir}")

    def examine(self, profile: Profile, workspace: Workspace) -> Iterator[Line]:
        """The engine, the image, the job root, GPUs."""
        from automodel_launch.doctor import docker as doctor_docker

        root, image = self.job_root(profile, workspace), self.image(profile)
        return doctor_docker.lines(LocalShell(), root, image, _gpus(profile))

    def submit(self, plan: Plan, workspace: Workspace) -> dict[str, Any]:
        """Run the script that lies in the job's directory, and wait until its agent has reported.

        Raises:
            ClusterError: the image cannot be had, or the container does not start.
        """
        _pull(_image(plan))
        done = LocalShell().run(f"bash {_q(f'{plan.job_dir}/script')}", timeout=START_S)
        if done.code:
            raise ClusterError(f"Docker did not start {plan.job_id}: {_said(done)}", _fix(done.err))
        handle = {"container": _name(plan), "stop_grace": plan.profile.stop_grace}
        handle |= {name: os.environ[name] for name in ENGINE if os.environ.get(name)}
        end = time.monotonic() + AGENT_S
        while JobDir(plan.job_dir).node(0) is None and time.monotonic() < end:
            if _state(handle) is None and JobDir(plan.job_dir).node(0) is None:
                fix = f"is its {AGENT_PYTHON} 3.8 or later? The script's `docker run`, without --detach, tells more"
                raise ClusterError(
                    f"{plan.job_id}: the container of {_image(plan)} ended before its agent reported.", fix
                )
            time.sleep(0.05)
        return handle

    def status(self, record: Record) -> Status:
        """The job's own record; before there is one, whether its container is there."""
        job = JobDir(record.job_dir)
        try:
            state = None if job.exit_record() else _state(record.handle)
        except ClusterError as error:
            return Status("UNKNOWN", error=error.message)
        ended = job.exit_record()  # asked last: the agent writes it before its container goes
        if ended and "state" in ended:
            return from_record(ended)
        node = job.node(0) or {}
        if state is not None:
            return Status("RUNNING", step=node.get("step"), started=node.get("time"))
        with contextlib.suppress(OSError):  # no agent was there to remove it
            Path(record.job_dir, secrets.FILE).unlink(missing_ok=True)
        if not job.place.names(record.job_dir):
            return Status("UNKNOWN", error="its directory is gone", forgotten=True)
        return Status(
            "FAILED", 1, "its container ended without a record (killed, or out of memory?)", step=node.get("step")
        )

    def cancel(self, record: Record, now: bool = False) -> None:
        """SIGTERM to the agent, which lets the ranks save; a second one makes it kill them.

        Raises:
            JobError: the container does not run.
        """
        self._signal(record)
        if not now:
            return
        time.sleep(1.2)  # the agent takes a second signal within a second for the same one
        with contextlib.suppress(JobError):
            self._signal(record)
        end = time.monotonic() + KILL_S
        while _state(record.handle) is not None and time.monotonic() < end:
            time.sleep(0.1)
        if _state(record.handle) is not None:
            _docker(record.handle, f"docker rm --force {_q(record.handle['container'])}")

    def resume(self, record: Record) -> dict[str, Any]:
        """Not here.

        Raises:
            JobError: always; a new job of the same run does the same.
        """
        raise JobError(
            f"{record.job_id} ran in a container that is gone.",
            "launch it as before: it goes on from its last checkpoint",
        )

    def _signal(self, record: Record) -> None:
        done = _docker(record.handle, f"docker kill --signal TERM {_q(record.handle['container'])}")
        if done.code:
            raise JobError(f"{record.job_id}: docker kill: {_said(done)}")


def _docker(handle: dict[str, Any], script: str) -> Done:
    """Run a script where `docker` means the job's engine, whatever this shell's own is."""
    names = "".join(f"export {name}={_q(handle[name])}\n" if name in handle else f"unset {name}\n" for name in ENGINE)
    return LocalShell().run(names + script)


def _state(handle: dict[str, Any]) -> str | None:
    """`running` and the like, or None where there is no such container any more.

    Raises:
        ClusterError: the engine does not answer.
    """
    done = _docker(handle, f"docker container inspect --format '{{{{.State.Status}}}}' {_q(handle['container'])}")
    if done.code == 0:
        state = done.out.strip()
        return None if state in ("exited", "dead", "removing") else state
    if any(words in done.err for words in _GONE):
        return None
    raise ClusterError(f"Docker: {_said(done)}", _fix(done.err))


def _image(plan: Plan) -> str:
    source = plan.profile_sources.get("container_image", plan.profile_name)
    image = container.image_of(plan.profile, source)
    if image is None:
        raise ProfileError(
            f"container_image is missing ({plan.profile_name}): executor 'docker' runs the job in an image.",
            'container_image = "nvcr.io/nvidia/nemo-automodel:26.04", or executor = "local"',
        )
    if image.path:
        raise ProfileError(
            f"container_image = {image.path!r} ({source}): Docker takes an image's name, not a file.",
            "docker load or docker import makes an image of a file",
        )
    return image.for_docker


def _mounts(plan: Plan) -> list[Mount]:
    """All that the container sees of this machine, parents before what lies in them."""
    source = plan.profile_sources.get("mounts", plan.profile_name)
    key = f"mounts ({source})"
    seen = [
        replace(m, source=mounts.expanded(m.source, os.environ, key), target=mounts.expanded(m.target, os.environ, key))
        for m in mounts.read(plan.profile.mounts, plan.job_root, source)
    ]
    for mount in seen:
        if mount.flags not in ("", "ro", "rw"):
            raise ProfileError(f"mounts ({source}): {mount.written!r}: Docker knows ro and rw, not {mount.flags!r}.")
    if plan.data_dir.startswith("/") and mounts.outside(plan.data_dir, seen) is None:
        seen.append(Mount(plan.data_dir, plan.data_dir))
    return [*seen, Mount(plan.job_dir, NEMO_RUN)]


def _mount_option(mount: Mount) -> str:
    """--mount takes a line of CSV, so commas, colons and blanks in a path survive, other than with --volume."""
    line = io.StringIO()
    fields = [
        "type=bind",
        f"source={mount.source}",
        f"target={mount.target}",
        *(["readonly"] if mount.read_only else []),
    ]
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _options(plan: Plan) -> Iterator[str]:
    profile = plan.profile
    name = _name(plan)
    yield f"--name {_q(name)} --hostname {_q(name[-63:].strip('.-_'))}"
    yield f"--label {_q(f'{RUN_LABEL}={plan.run_dir}')} --label {_q(f'{JOB_LABEL}={plan.job_dir}')}"
    yield f"--workdir {_q(f'{plan.job_dir}/code')}"
    wanted = _gpus(profile)
    if wanted:
        yield f"--gpus {wanted}"
    if profile.runtime:
        yield f"--runtime {_q(profile.runtime)}"
    if profile.ipc_mode:
        yield f"--ipc {_q(profile.ipc_mode)}"
    if profile.shm_size or not profile.ipc_mode:  # another container's or the host's /dev/shm has its own size
        yield f"--shm-size {_q(profile.shm_size or SHM_SIZE)}"
    if profile.docker_args:
        yield " ".join(_q(word) for word in profile.docker_args)


def _gpus(profile: Profile) -> int | str:
    """`gpus_per_node`; where it is not given, all that this machine has."""
    if profile.gpus_per_node is not None:
        return profile.gpus_per_node
    return "all" if gpus.count() else 0


def _name(plan: Plan) -> str:
    """A container's name is unique on the machine, a job's id in its job root only."""
    return f"{plan.job_id.replace('@', '')}-{hashlib.sha256(plan.job_dir.encode()).hexdigest()[:8]}"


def _pull(image: str) -> None:
    """Fetch an image that is not there, with Docker's own progress; one that is there is left as it is."""
    if LocalShell().run(f"docker image inspect {_q(image)}").code == 0:
        return
    code = subprocess.run(["docker", "pull", image], stdout=sys.stderr, check=False).returncode
    if code:
        raise ClusterError(
            f"docker pull {image} failed (exit code {code}).",
            "is the name right, and `docker login` done? `docker images` lists what is here; docs/containers.md",
        )


def _said(done: Done) -> str:
    lines = [line for line in done.err.splitlines() if line and not re.match("(See|Run) .*--help|Usage:", line)]
    return " ".join(lines)[-400:] or f"exit code {done.code}"


def _fix(err: str) -> str:
    if "Cannot connect" in err or "docker: command not found" in err:
        return "is Docker installed and running? DOCKER_HOST names another engine's socket; `docker version` tests it"
    if "permission denied" in err:
        return "this user may not use Docker: ask for membership in the group docker, or use a rootless engine"
    if "executable file not found" in err:
        return f"the image has no {AGENT_PYTHON}: take one with Python 3.8 or later"
    if "invalid mount option" in err:
        return "mounts: podman cannot carry a comma in a path; a link to the directory can have another name"
    if "bind source path" in err:
        return "mounts: a directory to mount does not exist here"
    return "--dry-run shows the script"


def _q(text: str) -> str:
    return shlex.quote(text)


EXECUTOR = Docker()
