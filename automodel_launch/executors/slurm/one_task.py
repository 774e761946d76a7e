"""The Python of a Slurm job in one task of srun's: in the image, or on a node. It takes a place in the queue."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from automodel_launch.executors.containers import container
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.executors.slurm import script
from automodel_launch.remote.slurm_environment import CLEAN

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.remote.shell import Shell

IMMEDIATE_S = 30  # srun gives up where no node is free within these
_KEYS = ("account", "qos", "reservation", "constraint", "nodelist", "exclude")


def of(plan: Plan, shell: Shell) -> JobPython | NotAtHand:
    """Start it with srun, which goes when no node is free soon; its files are in the job root, which all nodes see."""
    profile = plan.profile
    if profile.setup_lines or profile.startup_commands:
        return NotAtHand("setup_lines or startup_commands come before the job's Python, and a rehearsal runs neither")
    found = container.of(plan)
    options = [f"--{key}={getattr(profile, key)}" for key in _KEYS if getattr(profile, key)]
    partition = script.partition(plan)
    options += [f"--partition={partition}"] if partition else []
    line = [
        f"{CLEAN};",
        f'srun --nodes=1 --ntasks=1 --time=5 --immediate={IMMEDIATE_S} --job-name="$name" --chdir="$scratch"',
        "--mpi=none --cpu-bind=none --quiet",
        *map(shlex.quote, [*options, *profile.srun_args]),
    ]
    python = shlex.quote(plan.agent["python"])
    if found and found.runtime == container.PYXIS:
        mounts = ",".join(mount.word for mount in found.mounts)
        line += [f"--container-image={found.image_word}", f"--container-mounts={mounts}"]
        line += [*container.srun_flags(found, profile), python]
    else:
        line.append(container.agent_command(found, profile, python, "$scratch"))
    return JobPython(
        shell,
        " ".join(line),
        "in one task of srun's",
        own=True,
        parent=plan.job_root,
        stop='scancel --name="$name" --user="$(id -un)"',
        known=False,
        waits_s=IMMEDIATE_S,
    )
