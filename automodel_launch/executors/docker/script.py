"""The script of a Docker job: one `docker run`, a pure function of the plan."""

from __future__ import annotations

import csv
import hashlib
import io
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.errors import ProfileError
from automodel_launch.executors import agent_python, exported, standing
from automodel_launch.executors.containers import container
from automodel_launch.executors.containers import mounts as mount_keys
from automodel_launch.executors.sbatch_validation import NEMO_RUN
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.mounts import Mount
from automodel_launch.remote import gpus

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile

SHM_SIZE = "16g"  # Docker's own 64 MB end PyTorch's data loaders with a bus error; memory is taken only when used
# A condition of bash. podman before 4.6 does not say it to Docker's client, but its storage belongs to who runs it; the
# last line is for podman's own client, under the name docker.
ROOTLESS = """\
[[ $(docker info --format '{{.SecurityOptions}}' 2>/dev/null) == *rootless* ]] ||
  [ -O "$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)" ] ||
  [ -O "$(docker info --format '{{.Store.GraphRoot}}' 2>/dev/null)" ]"""
RUN_LABEL, JOB_LABEL = "automodel-launch.run", "automodel-launch.job"  # directories, so unique on this machine


def text(plan: Plan) -> str:
    """A bash script that starts the container; nothing of env, env_vars or secrets stands in it.

    An image's ENTRYPOINT would get the command as its arguments, and need not start it. pyxis does without it, too;
    who wants one says so in `docker_args`, which come later.
    """
    options = " \\\n  ".join([*_options(plan), *map(mount_option, plan.mounts)])
    command = shlex.join(
        [agent_python.SHELL, f"{plan.job_dir}/{contract.NODE_AGENT_SH}", "run", f"{plan.job_dir}/{contract.AGENT}"]
    )
    return f"""#!/usr/bin/env bash
# job {plan.job_id}: starts its container, which Docker removes at its end
set -euo pipefail
{standing.guard(plan.job_dir)}\
# files belong to this user; with a rootless engine that is who root inside is
user=$(id -u):$(id -g)
if {ROOTLESS}; then user=0:0; fi
mkdir -p {shlex.quote(plan.data_dir)}
exec docker run --detach --rm \\
  --user "$user" --env USER="$(id -un)" --env HOME=/tmp --env {contract.IMAGE_ID_VAR}="$({image_id(image(plan))})" \\
  --entrypoint "" \\
  {options} \\
  {shlex.quote(image(plan))} \\
  {command}
"""


def image_id(name: str) -> str:
    """Words of bash that print what stands for all that an image holds."""
    return f"docker image inspect --format '{{{{.Id}}}}' {shlex.quote(name)}"


def image(plan: Plan) -> str:
    """The image's name, as Docker takes it.

    Raises:
        ProfileError: there is none, or it is a file.
    """
    source = plan.source("container_image")
    found = container.image_of(plan.profile, source)
    if found is None:
        raise ProfileError(
            f"container_image is missing ({plan.profile_name}): executor 'docker' runs the job in an image.",
            'container_image = "nvcr.io/nvidia/nemo-automodel:26.04", or executor = "local"',
        )
    if found.path:
        raise ProfileError(
            f"container_image = {found.path!r} ({source}): Docker takes an image's name, not a file.",
            "docker load or docker import makes an image of a file",
        )
    return found.for_docker


def mounts_of(plan: Plan, environ: Mapping[str, str]) -> list[Mount]:
    """All that the container sees of this machine, parents before what lies in them."""
    source = plan.profile_sources.get("mounts", plan.profile_name)
    key = f"mounts ({source})"
    seen = [
        replace(m, source=mounts_.expanded(m.source, environ, key), target=mounts_.expanded(m.target, environ, key))
        for m in mount_keys.read(plan.profile.mounts, plan.job_root, source, docker=True)
    ]
    if plan.data_dir.startswith("/") and mounts_.outside(plan.data_dir, seen) is None:
        seen.append(Mount(plan.data_dir, plan.data_dir))
    return [*seen, Mount(plan.job_dir, NEMO_RUN)]


def mount_option(mount: Mount) -> str:
    """--mount takes a line of CSV, so commas, colons and blanks in a path survive, other than with --volume.

    That one alone has all flags, and names of volumes.
    """
    if not mount.has_source or mount.flags not in ("", "ro", "rw"):
        return f"--volume {shlex.quote(mount.text)}"
    line = io.StringIO()
    fields = [
        "type=bind",
        f"source={mount.source}",
        f"target={mount.target}",
        *(["readonly"] if mount.read_only else []),
    ]
    csv.writer(line, lineterminator="").writerow(fields)
    return f"--mount {shlex.quote(line.getvalue())}"


def _options(plan: Plan) -> Iterator[str]:
    profile = plan.profile
    called = name(plan)
    yield f"--name {shlex.quote(called)} --hostname {shlex.quote(called[-63:].strip('.-_'))}"
    yield f"--label {shlex.quote(f'{RUN_LABEL}={plan.run_dir}')} --label {shlex.quote(f'{JOB_LABEL}={plan.job_dir}')}"
    yield f"--workdir {shlex.quote(f'{plan.job_dir}/{contract.CODE}')}"
    wanted = gpus_of(profile)
    if wanted:
        yield f"--gpus {wanted}"
    if profile.runtime:
        yield f"--runtime {shlex.quote(profile.runtime)}"
    if profile.ipc_mode:
        yield f"--ipc {shlex.quote(profile.ipc_mode)}"
    if profile.shm_size or not profile.ipc_mode:  # another container's or the host's /dev/shm has its own size
        yield f"--shm-size {shlex.quote(profile.shm_size or SHM_SIZE)}"
    if profile.docker_args:
        yield " ".join(shlex.quote(word) for word in profile.docker_args)


def gpus_of(profile: Profile) -> int | str:
    """`gpus_per_node`; where it is not given, all that this machine has."""
    if profile.gpus_per_node is not None:
        return profile.gpus_per_node
    return "all" if gpus.count() else 0


def name(plan: Plan) -> str:
    """A container's name is unique on the machine, a job's id in its job root only."""
    if plan.job_root == exported.ROOT:  # marks, in whose place each start puts values
        return f"{plan.job_id}-{exported.TRACKER}"
    return f"{plan.job_id.replace('@', '')}-{hashlib.sha256(plan.job_dir.encode()).hexdigest()[:8]}"
