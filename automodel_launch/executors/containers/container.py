"""The container of a Slurm job: image, mounts and options, in the form of the program that makes it.

pyxis is a plugin of srun, apptainer (singularity, by its old name) a command that stands before the agent's.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automodel_launch.errors import ProfileError
from automodel_launch.executors.containers import image_cache, images
from automodel_launch.executors.containers import mounts as mount_keys
from automodel_launch.executors.containers.images import Image
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.mounts import Mount
from automodel_launch.profile.secret_names import check_name

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.profile.schema import Profile

PYXIS = "pyxis"
WRAPPERS = ("apptainer", "singularity")


@dataclass(frozen=True)
class Container:
    """What the job runs in. `mounts` has the job root, too."""

    runtime: str
    image: Image
    mounts: tuple[Mount, ...]

    @property
    def image_text(self) -> str:
        """The image as the runtime takes it."""
        return self.image.for_pyxis if self.runtime == PYXIS else self.image.for_apptainer

    @property
    def image_word(self) -> str:
        """The same as a word of bash."""
        return mounts_.shell(self.image_text) if self.image.path else shlex.quote(self.image_text)


def image_of(profile: Profile, source: str) -> Image | None:
    """The image of a profile.

    Raises:
        ProfileError: it is not understood.
    """
    wanted = images.wanted(profile.container_image)
    return None if wanted is None else images.read(wanted, source)


def cached_image(profile: Profile, source: str = "profile") -> Image | None:
    """The image of a profile, or the file that stands for it in `image_cache`."""
    image = image_of(profile, source)
    return image_cache.cached(image, profile, "profile") if image else None


def image_text(profile: Profile, source: str) -> str | None:
    """The image of a profile as its runtime takes it; `source` tells where it was set."""
    image = cached_image(profile, source)
    return Container(profile.container_runtime or PYXIS, image, ()).image_text if image else None


def of(plan: Plan) -> Container | None:
    """The container of a Slurm plan, or None where the job runs on the nodes as they are.

    Raises:
        ProfileError: a key of it is not understood, or asks for what the runtime does not have.
    """
    profile, sources = plan.profile, plan.profile_sources
    image = image_of(profile, sources.get("container_image", plan.profile_name))
    if image is None:
        return None
    image = image_cache.cached(image, profile, sources.get("image_cache", plan.profile_name))
    source = sources.get("mounts", plan.profile_name)
    seen = mount_keys.read(profile.mounts, plan.job_root, source)
    mount_keys.check_for_scripts(seen, source)
    for name in profile.container_env:
        check_name(name, f"container_env ({sources.get('container_env', plan.profile_name)})")
    runtime = _runtime(profile, sources.get("container_runtime", plan.profile_name))
    own = next((mount for mount in seen if not mount.has_source), None)
    if own and runtime != PYXIS:
        raise ProfileError(f"mounts ({source}): {own.written!r}: only pyxis has {own.source}.", "take it out")
    return Container(runtime, image, tuple(seen))


def _runtime(profile: Profile, source: str) -> str:
    """pyxis, or the program that stands before the agent's; where a module brings that, its path has to be given."""
    runtime = profile.container_runtime or PYXIS
    path = SAFE_PATH.fullmatch(runtime) and runtime.rpartition("/")[2] in WRAPPERS
    if runtime not in (PYXIS, *WRAPPERS) and not path:
        raise ProfileError(
            f"container_runtime = {runtime!r} ({source}) is not known.",
            '"pyxis", "apptainer", "singularity", or the path of one of the last two',
        )
    return runtime


def workdir(plan: Plan) -> str | None:
    """`container_workdir`, where the agent runs startup commands and training.

    Raises:
        ProfileError: it is not absolute.
    """
    path = plan.profile.container_workdir
    if path is not None and (not path.startswith("/") or not path.isprintable()):
        source = plan.profile_sources.get("container_workdir", plan.profile_name)
        raise ProfileError(f"container_workdir = {path!r} ({source}): expected an absolute path inside the container.")
    return path


def srun_flags(container: Container | None, profile: Profile) -> list[str]:
    """pyxis's further options, beside those that NeMo-Run writes."""
    if container is None or container.runtime != PYXIS:
        return []
    switches = (
        ("container-writable", profile.container_writable),
        ("container-mount-home", profile.container_mount_home),
    )
    no = {"container-writable": "container-readonly"}
    flags = [f"--{name}" if on else f"--{no.get(name, f'no-{name}')}" for name, on in switches if on is not None]
    if profile.container_env:
        flags.append(f"--container-env={','.join(profile.container_env)}")
    return flags


def agent_command(container: Container | None, profile: Profile, start: str, job_dir: str) -> str:
    """What srun starts before the agent's own words, as bash reads it: `start`, or apptainer with it."""
    if container is None or container.runtime == PYXIS:
        return start
    program = [container.runtime, "exec", "--nv"]
    if profile.container_writable:
        program.append("--writable-tmpfs")
    if profile.container_mount_home is not None:
        program += ["--no-home"] if not profile.container_mount_home else []
    # NeMo-Run replaces /nemo_run wherever it stands in a script without an image for srun (0.11.1), but not this
    own = f"{job_dir}:{NEMO_RUN[:5]}''{NEMO_RUN[5:]}"
    binds = ",".join([*(mount.word for mount in container.mounts), own])
    return " ".join([*program, "--bind", binds, "--pwd", f"{job_dir}/code", container.image_word, start])
