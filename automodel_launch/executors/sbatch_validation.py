"""What a batch script can carry: words that would become a second line, or another word, are refused with their key.

A value of the training config or of `env_vars` never stands in a script; those travel as JSON and YAML, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from automodel_launch.errors import ProfileError
from automodel_launch.profile import sbatch_options

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

SAFE_PATH = re.compile(r"/[A-Za-z0-9_./@+,=-]+")  # paths in a script are not quoted everywhere
NEMO_RUN = "/nemo_run"
_SIGNAL = re.compile(r"(?:([RBrb]{1,2}):)?(\w+)(@\d+)?")
_MOST_S = 65535  # of a signal's time
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_OPTION_KEYS = (
    *("account", "partition", "run_partition", "batch_partition", "time", "mem", "exclusive", "qos", "constraint"),
    *("reservation", "nodelist", "exclude", "gres", "signal", "network", "dependency", "comment"),
)
_ANY_TEXT = ("comment", "additional_parameters.")  # JSON, say; in the other keys a quote is a mistake
# Options that the launcher sets itself: with others it would not find the job, its log or its processes again.
_OWN = {
    *("job-name", "output", "error", "export", "export-file", "array", "chdir", "parsable", "wrap", "wait"),
    *("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "test-only", "input"),
    *("tasks-per-node", "workdir"),  # other names of ntasks-per-node and, once, chdir
}
# Options that the launcher looks for among the profile's, or replaces there.
_READ = ("requeue", "no-requeue", "propagate")


def check(profile: Profile, sources: dict[str, str]) -> None:
    """Refuse what no batch script can carry.

    Raises:
        ProfileError: it names the key and where that was set.
    """
    for key, value in _options(profile):
        source = sources.get(key) or sources.get(key.split(".")[0], "profile")
        fault = _fault(value) or (None if key.startswith(_ANY_TEXT) else _quote_fault(value))
        if fault:
            raise ProfileError(
                f"{key} = {value!r} ({source}): an #SBATCH line cannot carry {fault}.", f"write {key} without it"
            )
    for word in (*profile.srun_args, *([profile.container_image] if profile.container_image else [])):
        key = "container_image" if word == profile.container_image else "srun_args"
        fault = _fault(word)
        if fault:
            raise ProfileError(f"{key}: {word!r} ({sources.get(key, 'profile')}): srun's line cannot carry {fault}.")
    _check_signal(profile, sources)
    for name in profile.additional_parameters:
        _check_name(name, sources.get(f"additional_parameters.{name}", "profile"))
    for word in profile.srun_args:
        if word.startswith(("-M", "--clu")):
            raise _another_cluster(f"srun_args: {word!r} ({sources.get('srun_args', 'profile')})")


def for_sbatch(value: str) -> str:
    """A value as sbatch has to get it to read it as given: it drops a backslash even inside NeMo-Run's quotes."""
    return value.replace("\\", "\\\\")


def warning(profile: Profile) -> str | None:
    """`signal` as it is submitted: without `B:`, since it is the node agents, in the steps, that let the ranks save.

    The batch shell, which Slurm signals with `B:` and alone, waits for srun and would die of it.
    """
    match = _SIGNAL.fullmatch(profile.signal or "")
    return f"{'R:' if 'R' in (match[1] or '').upper() else ''}{match[2]}{match[3] or ''}" if match else profile.signal


def _check_signal(profile: Profile, sources: dict[str, str]) -> None:
    """The node agents take USR1 for Slurm's warning; of another signal they, or the training, would end otherwise."""
    match = _SIGNAL.fullmatch(profile.signal or "")
    where = f"signal = {profile.signal!r} ({sources.get('signal', 'profile')})"
    usr1 = match and match[2].upper().removeprefix("SIG") in ("USR1", "10")
    in_time = match and int((match[3] or "@0")[1:]) <= _MOST_S
    if profile.signal is None or (usr1 and in_time):
        return
    before, mark, after = profile.signal.partition("@")
    if re.fullmatch(r"(.*:)?((SIG)?USR1|10)", before, re.IGNORECASE) and mark:
        form = f"behind the @ stands a number of seconds, {_MOST_S} at most"
        raise ProfileError(f"{where}: {form}.", f'signal = "{_with_seconds(before, after)}"')
    seconds = (match[3] or "@120") if match else "@120"
    raise ProfileError(
        f"{where}: the job saves and ends at USR1 only.",
        f'signal = "USR1{seconds}", or none: it saves before its time limit anyway (docs/reliability.md)',
    )


def _with_seconds(signal: str, written: str) -> str:
    """`USR1@5m` as `USR1@300`, where that can be told."""
    number, unit = written[:-1], written[-1:].lower()
    seconds = int(number) * {"s": 1, "m": 60, "h": 3600}.get(unit, 0) if number.isdigit() else 0
    return f"{signal}@{seconds if 0 < seconds <= _MOST_S else 120}"


def _options(profile: Profile) -> Iterator[tuple[str, str]]:
    for key in _OPTION_KEYS:
        value = getattr(profile, key)
        if isinstance(value, str):
            yield key, value
    for name, value in profile.additional_parameters.items():
        if isinstance(value, str):
            yield f"additional_parameters.{name}", value


def _fault(value: str) -> str | None:
    if not value.isprintable():
        return "a line break or another control character"
    if value != value.strip() or not value:
        return "a blank at the beginning or end"
    if NEMO_RUN in value:
        return f"{NEMO_RUN}, which NeMo-Run replaces wherever it stands"
    return None


def _quote_fault(value: str) -> str | None:
    return "quotes or backslashes" if set(value) & set("'\"\\`") else None


def _check_name(name: str, source: str) -> None:
    where = f"additional_parameters.{name!r} ({source})" if not _OPTION.fullmatch(name) else f"{name} ({source})"
    if not _OPTION.fullmatch(name):
        raise ProfileError(f"{where}: is no option of sbatch.", 'its long name without dashes before it: "mail-type"')
    if name.startswith("clu"):  # sbatch takes the beginning of an option's name for it
        raise _another_cluster(f"additional_parameters: {where}")
    short, name = name, sbatch_options.full(name)
    key = name.replace("-", "_")
    if short != name:
        where = f"{short} ({source}), which sbatch takes for {name}"
        if name in _READ:
            raise ProfileError(f"additional_parameters: {where}: not by its whole name.", f'"{name}" = ...')
    if name in _OWN and key not in _profile_keys():
        raise ProfileError(
            f"additional_parameters: {where}: the launcher sets this option itself.",
            "take it out; --name gives the job's name" if name == "job-name" else "take it out",
        )
    if key in _profile_keys():
        raise ProfileError(f"additional_parameters: {where}: the profile has a key for it.", f"{key} = ...")


def _another_cluster(where: str) -> ProfileError:
    return ProfileError(
        f"{where}: a job of another cluster could not be followed or cancelled from here.",
        'take it out; a profile has one cluster: launch from its login node, or tunnel = "ssh" with host = that one',
    )


def _profile_keys() -> dict[str, Any]:
    from automodel_launch.profile.schema import Profile

    return dict(Profile.model_fields)
