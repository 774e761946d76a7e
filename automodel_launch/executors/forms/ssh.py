"""`host`, `user` and `identity`, as they stand on ssh's command line, which no shell reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from automodel_launch.executors.forms.fault import Fault

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile

_URI = re.compile(r"ssh://(?:[^@/\s]+@)?(\[[^\]]*\]|[^:/\s]+)(?::([^/]*))?(/.*)?")
_HIGHEST = 65535


def faults(profile: Profile) -> Iterator[Fault]:
    """What ssh would not take, or would take for something else."""
    host, user = profile.host or "", profile.user
    if host.startswith("ssh://"):
        yield from _uri(host)
    if user:
        yield from _user(user, host)
    if profile.identity:
        yield from _identity(profile.identity)


def _uri(host: str) -> Iterator[Fault]:
    match = _URI.fullmatch(host)
    port = match[2] if match else None
    if not match:
        yield Fault("host", host, "no address; ssh takes ssh://[USER@]HOST[:PORT]", 'host = "ssh://login:2222"')
    elif port is not None and not (re.fullmatch("[0-9]+", port) and 0 < int(port) <= _HIGHEST):
        why = f"{port!r} is no port: a number from 1 to {_HIGHEST}"
        yield Fault("host", host, why, f'host = "{host[: match.end(1)]}:22"')
    elif match[3] and match[3] != "/":
        why = "an address of ssh has no path"
        yield Fault("host", host, why, f'host = "{host[: match.start(3)]}"; remote_job_dir is the directory there')


def _user(user: str, host: str) -> Iterator[Fault]:
    other, _, rest = host.removeprefix("ssh://").rpartition("@")
    name, mark, at = user.rpartition("@")  # an account of a domain may have one
    if "$" in user:
        why = "no shell expands variables here"
        yield Fault("user", user, why, 'user = "ada", or leave it out: ssh takes your own name, or that of ssh_config')
    elif mark and at == rest.partition(":")[0]:
        yield Fault("user", user, "the host stands in it", f'user = "{name}"')
    elif other and other != user:
        why = f"host = {host!r} names another one, {other!r}"
        yield Fault("user", user, why, "one of them; leave the other out")


def _identity(written: str) -> Iterator[Fault]:
    """A key that is not there: ssh goes on with others. One of an agent may be named by its public half."""
    path = Path(written).expanduser()
    fix = "the private key's path; or leave it to ssh_config (IdentityFile)"
    if path.is_dir():
        yield Fault("identity", written, f"{path} is a directory, so ssh would try its other keys", fix, "warning")
    elif not path.exists() and not path.with_name(f"{path.name}.pub").exists():
        tilde = "; `~` is the home directory, variables are not expanded" if "$" in written else ""
        why = f"{path} does not exist on this machine{tilde}, so ssh would try its other keys"
        yield Fault("identity", written, why, fix, "warning")
