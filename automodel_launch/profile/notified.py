"""Who is told of a run's end (`notify`): a hook's URL is a secret where whoever has it may use it."""

from __future__ import annotations

from urllib.parse import urlsplit

from automodel_launch.errors import ProfileError
from automodel_launch.profile import hidden
from automodel_launch.profile.schema import Profile


def refuse(profile: Profile, place: str) -> None:
    """Refuse a URL that is a secret or leads nowhere, and a variable that the job would not have.

    Raises:
        ProfileError: says which, without the URL.
    """
    for number, entry in enumerate(profile.notify, 1):
        _, mark, name = entry.rpartition("env:")
        if mark and "//" not in entry:
            if name not in profile.secrets:
                raise ProfileError(
                    f"{place}: {entry} names a variable that the job does not have.", f'secrets = ["{name}"]'
                )
        elif not entry.startswith("mail:") and hidden.is_hook(entry):
            kind = "slack:env:SLACK_HOOK" if "slack" in entry.lower() else "env:HOOK"
            variable = kind.rpartition(":")[2]
            raise ProfileError(
                f"{place}: entry {number} is a URL with which anybody could write there; it would stand in the plan and"
                " in the job's files.",
                f'export {variable}=..., secrets = ["{variable}"] and notify = ["{kind}"]',
            )
        elif not entry.startswith("mail:") and not _is_reachable(entry.removeprefix("slack:")):
            raise ProfileError(
                f"{place}: entry {number} has no host, or its port is not valid.", "https://HOST[:PORT]/PATH"
            )


def _is_reachable(url: str) -> bool:
    """Whether a host and a port stand in it; else nobody would be told, and only the job's end would say so."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
