"""How secrets and other variables of the submitter's shell reach a job.

Secrets are the names in a profile's `secrets`, and those that say so themselves (profile/secret_names.py). A value is
read when the job is submitted and never stands in a Plan: it goes into a file of the job's directory that only its
owner can read, which the node agent sources and removes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping

from automodel_launch.errors import ClusterError, ProfileError
from automodel_launch.profile.secret_names import check_name, is_secret
from automodel_launch.remote.filesystem import FileSystem, RemoteFileSystem


def forwarded(names: Iterable[str], environ: Mapping[str, str], key: str) -> dict[str, str]:
    """The values of the names that are set, for a job that does not inherit this shell; they belong to the plan.

    Raises:
        ProfileError: a name is a secret's, or a value is no UTF-8 text; `key` tells where the names stand.
    """
    values = {}
    for name in names:
        check_name(name, key)
        if is_secret(name):
            raise ProfileError(
                f"{key} names {name}, a secret: its value would stand in the plan and in the job's files.",
                f'secrets = ["{name}"] in the profile',
            )
        if name in environ:
            values[name] = _text(name, environ[name], key)
    return values


def _text(name: str, value: str, key: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProfileError(f"{key}: the value of {name} in this shell is not UTF-8.", f"export {name} again") from None
    return value


def file_content(names: Iterable[str], environ: Mapping[str, str]) -> bytes:
    """Lines NAME=VALUE for bash, each value exactly as it is; names that are not set are left out."""
    lines = [f"{name}={shlex.quote(environ[name])}\n" for name in names if name in environ]
    return "".join(lines).encode("utf-8", "surrogateescape")


def write(place: FileSystem, path: str, content: bytes) -> None:
    """Make a new file that nobody but its owner can read at any moment.

    Raises:
        ClusterError: it is there already or cannot be written. The message holds nothing of the content.
    """
    if isinstance(place, RemoteFileSystem):
        # the content goes through standard input: a command line is seen by every user of the machine
        script = f"umask 077; set -o noclobber; cat > {shlex.quote(path)}"
        done = place.shell.run(script, content)
        if done.code:
            raise ClusterError(f"{place.shell.place}: {path} cannot be written: {' '.join(done.err.split())[-300:]}")
        return
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ClusterError(f"{path} cannot be written: {error.strerror}.") from error
