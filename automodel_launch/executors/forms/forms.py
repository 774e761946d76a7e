"""Which key of a profile has which form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch.executors.forms import options, placeholders, sizes, srun, ssh, words
from automodel_launch.executors.forms.fault import Fault

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

# Keys of a profile that are not called as sbatch's option is.
_LIKE = {"run_partition": "partition", "batch_partition": "partition", "build_partition": "partition"}
_LIKE |= {"build_time": "time"}
_FREE = (
    *("setup_lines", "startup_commands", "env_vars", "env", "secrets", "srun_args", "docker_args", "container_env"),
    "comment",
)
_IPC = re.compile(r"none|private|shareable|host|(container|ns):.+")


def of(profile: Profile) -> Iterator[Fault]:
    """All faults of a profile, whatever executor uses the key."""
    given = {key: getattr(profile, key) for key in sorted(profile.model_fields_set)}
    for key, value in given.items():
        if isinstance(value, str):
            yield from _form(key, value)
        if key not in _FREE:
            yield from _placeholders(key, value)
    yield from options.faults(profile.additional_parameters, {"mem": profile.mem})
    several = list(words.faults("srun_args", profile.srun_args))
    container = profile.container_image not in (None, "none")
    yield from several or srun.faults(profile.srun_args, container)
    yield from words.faults("docker_args", profile.docker_args)
    if profile.tunnel == "ssh":
        yield from ssh.faults(profile)


def _form(key: str, value: str) -> Iterator[Fault]:
    for form in options.FORMS.get(_LIKE.get(key, key), ()):
        yield from form(key, value)
    if key == "exclusive":
        yield from options.choices(key, value)
    elif key in ("python", "agent_python"):
        yield from words.program(key, value)
    elif key == "shm_size":
        yield from sizes.docker_faults(key, value)
    elif key == "ipc_mode" and not _IPC.fullmatch(value):
        yield Fault(key, value, "no such mode", 'ipc_mode = "host", "private", "shareable", "none" or "container:NAME"')


def _placeholders(key: str, value: object) -> Iterator[Fault]:
    if isinstance(value, str):
        yield from placeholders.faults(key, value)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _placeholders(key, one)
    elif key == "additional_parameters" and hasattr(value, "items"):
        for name, one in value.items():
            if name != "comment":
                yield from _placeholders(f"{key}.{name}", one)
