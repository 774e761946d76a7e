"""How secrets and other variables of the submitter's shell reach a job.

Secrets are the names in a profile's `secrets`, and those that say so themselves (profile/secret_names.py). A value is
read when the job is submitted and never stands in a Plan: it goes into a file of the job's directory that only its
owner can read, which the node agent sources and removes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from automodel_launch.config import dotted
from automodel_launch.errors import ClusterError, ConfigError, ProfileError
from automodel_launch.profile import config_secrets, hidden
from automodel_launch.profile.secret_names import check_name, is_secret
from automodel_launch.remote.filesystem import FileSystem, RemoteFileSystem
from automodel_launch.secret_rules import URL_PASSWORD


def refuse_in_profile(profile: Mapping[str, Any], sources: Mapping[str, str], name: str) -> None:
    """Refuse a profile in which a secret is written down: it would stand in the plan and in the job's files.

    Raises:
        ProfileError: a variable that says that it is a secret is set, or a URL holds a password; which, not what.
    """
    for key, value in dotted.leaves(profile):
        found = _secret_in(key, value)
        if found is None:
            continue
        what, variable = found
        place = sources.get(key) or sources.get(key.partition(".")[0], name)
        raise ProfileError(
            f"{key} ({place}): {what} does not belong there; it would stand in the plan and in the job's files.",
            f'export {variable}=..., and secrets = ["{variable}"] in the profile',
        )


def refuse_in_config(config: Mapping[str, Any], where: Callable[[str], str]) -> None:
    """Refuse a config in which a secret is written down; `where` tells where a key was set.

    Raises:
        ConfigError: a key that says that it is a secret's has a value, or a URL holds a password; which, not what.
    """
    for key, value in dotted.leaves(config):
        name = re.split(r"\.\d+(?:\.|$)", key)[0]  # an entry of a list stands where the list does
        if _password_in(value):
            what, variable = "a password in a URL", "NAME"
        elif config_secrets.is_written(key, value):
            what, variable = "a secret's value", config_secrets.variable(key)
        elif isinstance(value, str) and hidden.issued(value):
            what, variable = "a token", "NAME"
        else:
            continue
        place = URL_PASSWORD.sub(r"\1:***@", where(name)).replace(str(value), "***")  # which quotes an override
        raise ConfigError(
            f"{key} ({place}): {what} does not belong there; it would stand in the job's files.",
            f'write ${{oc.env:{variable}}} in its place, export {variable}=..., and secrets = ["{variable}"]'
            " in the profile",
        )


def _secret_in(key: str, value: object) -> tuple[str, str] | None:
    """In words, what of a secret stands in a profile's value, and the variable that it would be in."""
    table, _, name = key.partition(".")
    if table == "env_vars" and is_secret(name):
        return "a secret's value", name
    if not isinstance(value, str):
        return None
    if hidden.password(re.sub(r"\.\d+$", "", key), value):
        return "a password in a URL", name if table == "env_vars" else "NAME"
    for variable, _ in hidden.assigned(value):
        return f"a secret's value ({variable}=...)", variable
    return ("a token", name if table == "env_vars" else "NAME") if hidden.issued(value) else None


def _password_in(value: object) -> bool:
    return isinstance(value, str) and hidden.password("", value) is not None


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
        if _password_in(environ.get(name)):
            raise ProfileError(
                f"{key} names {name}, a URL with a password in it: it would stand in the plan and in the job's files.",
                f'secrets = ["{name}"] in the profile, instead',
            )
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
