"""The Python of a Docker job's image, in a container of its own that reads what the job would, and writes nowhere."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from automodel_launch.executors.docker import script
from automodel_launch.executors.job_python import JobPython
from automodel_launch.executors.sbatch_validation import NEMO_RUN
from automodel_launch.remote.shell import LocalShell

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan


def of(plan: Plan) -> JobPython:
    """A container without network and without GPUs; the job's mounts are read-only in it."""
    image = script.image(plan)
    start = [
        f"user=$(id -u):$(id -g); if {script.ROOTLESS}; then user=0:0; fi;",
        'docker run --rm --interactive --pull never --network none --name "$name" --user "$user"',
        '--env USER="$(id -un)" --env HOME="$scratch" --env TMPDIR="$scratch" --entrypoint "" --workdir "$scratch"',
        *_seen(plan),
        '--mount type=bind,source="$scratch",target="$scratch"',
        shlex.quote(image),
        shlex.quote(plan.agent["python"]),
    ]
    return JobPython(
        LocalShell(),
        " ".join(start),
        f"in a container of {image}",
        own=True,
        stop='docker rm --force "$name"',
        identity=script.image_id(image),
    )


def _seen(plan: Plan) -> list[str]:
    """The mounts whose sources are there: Docker refuses one that is not, as the job's own directory is not yet."""
    here = (mount for mount in plan.mounts if mount.has_source and mount.target != NEMO_RUN)
    return [script.mount_option(replace(mount, flags="ro")) for mount in here if Path(mount.source).exists()]
