"""`venv_archive`: the job's Python as one file, which Slurm copies to the nodes and each node's agent unpacks.

On several nodes the batch script has sbcast do the copying. Where that does not work (no room, a node that does not
answer) the nodes read the file itself, so it is no error of the job's; node_agent_lib/venv.py has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from automodel_launch import contract
from automodel_launch.errors import ProfileError
from automodel_launch.executors.containers import container
from automodel_launch.executors.sbatch_validation import NEMO_RUN, SAFE_PATH
from automodel_launch.executors.slurm import spares

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile
    from automodel_launch.remote.probes import Result

_MISSING, _NO_FILE, _UNREADABLE, _EMPTY = range(61, 65)
_FAULTS = {
    _MISSING: "no such file on the login node",
    _NO_FILE: "is no regular file",
    _UNREADABLE: "cannot be read",
    _EMPTY: "is empty",
}
_KINDS = ("1f8b", "28b52ffd", "fd377a585a00", "425a68")  # first bytes of gzip, zstd, xz and bzip2
_TAR = "7573746172"  # "ustar", at 257


def checked(profile: Profile, sources: Mapping[str, str]) -> str | None:
    """The archive's path.

    Raises:
        ProfileError: a batch script cannot carry it, or another key says where the job's Python comes from.
    """
    path = profile.venv_archive
    if path is None:
        return None
    where = f"venv_archive = {path!r} ({sources.get('venv_archive', 'profile')})"
    if not SAFE_PATH.fullmatch(path) or NEMO_RUN in path:
        fix = f"an absolute path of letters, digits and _ . / @ + , = -, without '{NEMO_RUN}'"
        raise ProfileError(f"{where}: expected an absolute path on the cluster.", fix)
    if container.image_of(profile, "profile"):
        source = sources.get("container_image", "profile")
        message = f"{where}: in a container the image has the job's Python ({profile.container_image}, {source})."
        raise ProfileError(message, 'leave one of the two out; container_image = "none" runs on the nodes as they are')
    if profile.python:
        message = f"{where} contradicts python = {profile.python} ({sources.get('python', 'profile')})."
        raise ProfileError(message, "leave one of the two out: the job's Python is the archive's bin/python")
    return path


def python(path: str) -> str:
    """What stands for the job's Python where a plan is shown; the agent knows where it is."""
    return f"{path}/bin/python"


def broadcast(profile: Profile) -> str:
    """Bash of the batch script, after `begin`; "" where there is nothing to copy.

    The name is the Slurm job's own, and of each start of it. sbcast takes no name that is there (no `--force`), so that
    nobody else's file is written or followed.
    """
    if not profile.venv_archive or spares.allocated(profile) == 1:
        return ""
    name = f"{contract.VENV_COPY}$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}.archive"
    return f"""
venv_copy=${{SLURM_TMPDIR:-/tmp}}/{name}
if sbcast {profile.venv_archive} "$venv_copy"; then
  export {contract.VENV_ARCHIVE_VAR}=$venv_copy
else
  echo "sbcast has not copied it: each node reads {profile.venv_archive} itself" >&2
fi"""


def question(path: str) -> str:
    """Bash that prints what `fault` reads, where the file is."""
    tests = ((_MISSING, "-e"), (_NO_FILE, "-f"), (_UNREADABLE, "-r"), (_EMPTY, "-s"))
    refusals = "".join(f'[ {test} "$f" ] || exit {code}; ' for code, test in tests)
    hexadecimal = "od -A n -t x1 | tr -d ' \\n'; echo"
    return f'f={path}; {refusals}head -c 6 "$f" | {hexadecimal}; head -c 262 "$f" | tail -c 5 | {hexadecimal}'


def fault(answer: Result) -> str | None:
    """What is wrong with the file, or None."""
    if answer.code:
        return _FAULTS.get(answer.code) or answer.brief
    first, *at_257 = answer.text.split()
    if first.startswith(_KINDS) or at_257 == [_TAR]:
        return None
    return "is no archive: its first bytes are none of gzip, zstd, xz, bzip2 or tar"
