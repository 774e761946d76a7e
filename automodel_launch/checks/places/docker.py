"""Docker on this machine: is there an engine, the image, what is to be mounted; does another job work on the run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from automodel_launch import executors
from automodel_launch.errors import ClusterError
from automodel_launch.executors.docker import script
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.mounts import Mount
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus, probes
from automodel_launch.remote.shell import Shell

_ELSEWHERE = ("ssh://", "tcp://", "http://", "https://")


def findings(plan: Plan) -> Iterator[Finding]:
    """The engine, the image, the mounts' sources, other jobs of the run."""
    same_run = f"label={script.RUN_LABEL}={plan.run_dir}"
    yield from ask(plan, executors.get(plan.executor).shell(plan.profile), script.image(plan), plan.mounts, same_run)


def ask(plan: Plan, shell: Shell, image: str, mounts: Sequence[Mount], same_run: str) -> Iterator[Finding]:
    """The same, of any shell; `same_run` is the filter that finds containers of the same run."""
    yield from _sources(plan, mounts)
    yield from _gpus(plan)
    asked = {
        "engine": "docker version --format '{{.Server.Version}}'",
        "image": f"docker image inspect --format '{{{{.Id}}}}' {shlex.quote(image)}",
        "same": f"docker ps --filter {shlex.quote(same_run)} --format '{{{{.Names}}}}'",
    }
    try:
        answers = probes.run(shell, asked)
    except ClusterError as error:
        yield Finding("error", "no-docker", error.message, error.hint)
        return
    engine = answers["engine"]
    if engine.code:
        fix = "install and start Docker, or name its socket in DOCKER_HOST; `python launch.py doctor "
        fix += f"{plan.profile_name}` looks"
        yield Finding("error", "no-docker", f"no Docker engine answers: {engine.brief}", fix)
        return
    yield from _elsewhere()
    yield _image(image, answers["image"].code, answers["image"].text)
    if answers["same"].text and answers["same"].code == 0:
        message = f"run {plan.run_name} is being worked on in container {answers['same'].brief}."
        yield Finding("error", "run-active", message, "python launch.py jobs; or --fresh for a run beside it")


def _image(image: str, code: int, text: str) -> Finding:
    if code:
        return Finding("note", "image-pulled", f"{image} is not on this machine: it is pulled at the job's start.")
    return Finding("note", "image", f"{image} is {text}")


def _elsewhere() -> Iterator[Finding]:
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith(_ELSEWHERE):
        message = f"DOCKER_HOST = {host}: that engine's machine mounts its own directories, not those of this one."
        yield Finding("error", "engine-elsewhere", message, "log in there and launch; or unset DOCKER_HOST")


def _sources(plan: Plan, mounts: Sequence[Mount]) -> Iterator[Finding]:
    source = plan.profile_sources.get("mounts", plan.profile_name)
    for mount in mounts:
        if mount.written and mount.has_source and not Path(mount.source).exists():
            message = f"mounts ({source}): {mount.written!r}: {mount.source} does not exist on this machine."
            yield Finding("error", "no-mount-source", message, "make it, or take the mount out")


def _gpus(plan: Plan) -> Iterator[Finding]:
    present, wanted = gpus.count(), plan.profile.gpus_per_node or 0
    if wanted > present:
        source = plan.profile_sources.get("gpus_per_node", plan.profile_name)
        message = f"gpus_per_node = {wanted} ({source}), and this machine shows {present} GPUs."
        yield Finding("error", "too-few-gpus", message, f"run.env.gpus_per_node={present}")
