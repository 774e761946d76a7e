"""Paths that begin with `~` or `$NAME` of a cluster, where they have to be known before a script is written."""

from __future__ import annotations

from automodel_launch.errors import ProfileError
from automodel_launch.plan.mounts import VARIABLE
from automodel_launch.remote import login_shell
from automodel_launch.remote.shell import Shell


def expanded_there(shell: Shell, path: str, key: str) -> str:
    """A path with the cluster's own values: its home directory, or a variable that a login shell there sets.

    Raises:
        ProfileError: a variable is not set; `key` tells where the path stands.
        ClusterError: the cluster cannot be asked.
    """
    match = VARIABLE.match(path)
    if not match:
        return path
    name = match[1] or match[2] or "HOME"
    value = _value(shell, name)
    if not value.startswith("/"):
        fault = f"{name} is not the name of a directory in a login shell of {shell.place}"
        raise ProfileError(f"{key} = {path!r}: {fault}{f': {value!r}' if value else ''}.", "write the path out")
    return value.rstrip("/") + path[match.end() :]


def _value(shell: Shell, name: str) -> str:
    """A plan asks for its job root more than once, the cluster is asked once."""
    if (shell.place, name) not in _known:
        ask = f'printf %s "${name}"'
        done = shell.run(ask if name == "HOME" else login_shell.question(ask))
        if done.code:
            return ""
        _known[shell.place, name] = done.out.strip()
    return _known[shell.place, name]


_known: dict[tuple[str, str], str] = {}
