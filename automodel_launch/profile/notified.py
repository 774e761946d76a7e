"""Who is told of a run's end (`notify`): a hook's URL is a secret where whoever has it may use it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from automodel_launch.errors import ProfileError
from automodel_launch.profile import config_secrets
from automodel_launch.profile.schema import Profile

_HOOKS = re.compile(r"(^|\.)(slack|discord|discordapp|office|logic\.azure|zapier|ifttt|telegram)\.(com|org)$")


def refuse(profile: Profile, place: str) -> None:
    """Refuse a URL that is a secret, and a variable that the job would not have.

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
        elif not entry.startswith("mail:") and _is_secret(entry):
            kind = "slack:env:SLACK_HOOK" if "slack" in entry.lower() else "env:HOOK"
            variable = kind.rpartition(":")[2]
            raise ProfileError(
                f"{place}: entry {number} is a URL with which anybody could write there; it would stand in the plan and"
                " in the job's files.",
                f'export {variable}=..., secrets = ["{variable}"] and notify = ["{kind}"]',
            )


def _is_secret(entry: str) -> bool:
    if entry.startswith("slack:"):
        return True
    url = urlsplit(entry)
    parts = [*url.path.split("/"), *re.split(r"[=&]", url.query), url.fragment]
    return bool(url.username or url.query or _HOOKS.search(url.hostname or "")) or any(map(_drawn, parts))


def _drawn(part: str) -> bool:
    return any(map(config_secrets.looks_drawn, re.split(r"[^A-Za-z0-9]+", part)))
