"""`doctor` for Docker on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch import executors
from automodel_launch.doctor import diagnosis
from automodel_launch.doctor.diagnosis import Line
from automodel_launch.executors.docker import script
from automodel_launch.remote import disk, gpus, probes
from automodel_launch.remote.shell import Shell

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace


def examine(profile: Profile, workspace: Workspace) -> Iterator[Line]:
    """The engine, the image, the job root, GPUs."""
    executor = executors.get(profile.executor)
    root, image = executor.job_root(profile, workspace), executor.image(profile)
    yield from lines(executor.shell(profile), root, image, script.gpus_of(profile))


def lines(shell: Shell, root: str, image: str | None, wanted_gpus: int | str) -> Iterator[Line]:
    """What is fine and what is not.

    Raises:
        ClusterError: this machine's bash does not answer.
    """
    asked = {
        "client": "docker --version",
        "engine": "docker version --format '{{.Server.Version}}'",
        "info": "docker info --format '{{.OperatingSystem}}'",
        "rootless": script.ROOTLESS,
        "image": f"docker image inspect --format '{{{{.Id}}}}' {shlex.quote(image or '')}",
        "toolkit": "nvidia-container-cli --version || nvidia-ctk --version",
    }
    answers = probes.run(shell, asked)
    client, engine = answers["client"], answers["engine"]
    if client.code:
        yield Line(
            "FAIL", "docker", client.brief, "install Docker's client; podman's package podman-docker has one, too"
        )
    elif engine.code:
        yield Line("FAIL", "engine", engine.brief, "start it, or name its socket in DOCKER_HOST")
    else:
        yield Line("ok", "docker", client.brief)
        rootless = ", yours (rootless)" if answers["rootless"].code == 0 else ""
        yield Line("ok", "engine", f"{engine.brief}{rootless}, {answers['info'].text}")
        yield _image(image, answers["image"].code, answers["image"].text)
    yield from diagnosis.job_root(disk.local(root))
    yield _gpus(wanted_gpus, answers["toolkit"].code == 0)


def _image(image: str | None, code: int, text: str) -> Line:
    if image is None:
        return Line("FAIL", "image", "none is given", "container_image = ...")
    if code:
        return Line("not checked", "image", f"{image} is not on this machine", f"docker pull {image}")
    return Line("ok", "image", f"{image} is {text}")


def _gpus(wanted: int | str, toolkit: bool) -> Line:
    present = gpus.count()
    if not wanted:
        return Line("ok", "GPUs", f"none wanted of {present}: the job trains on the CPU")
    if isinstance(wanted, int) and wanted > present:
        return Line("FAIL", "GPUs", f"{present}, and the profile wants {wanted}", f"gpus_per_node = {present}")
    if not toolkit:
        return Line("warn", "GPUs", "no NVIDIA container toolkit was found", "install nvidia-container-toolkit")
    return Line("ok", "GPUs", f"{wanted} of {present}")
