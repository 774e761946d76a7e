"""The static keys, region and endpoint of a profile in ~/.aws, which obstore does not read.

What needs a program or a browser (SSO, credential_process, assumed roles) is not read either: `aws configure
export-credentials --format env` gives the variables for it.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_PLACE = {"region": "region", "endpoint_url": "endpoint"}
_VARIABLES = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """As obstore's S3Store takes them; what a variable says is left to it. Empty where there is no such profile."""
    profile = environ.get("AWS_PROFILE") or "default"
    shared = _section(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials", profile)
    name = profile if profile == "default" else f"profile {profile}"
    config = _section(environ.get("AWS_CONFIG_FILE") or "~/.aws/config", name)
    found = {ours: value for theirs, ours in _KEYS.items() if (value := shared.get(theirs) or config.get(theirs))}
    for theirs, ours in _PLACE.items():
        if (value := config.get(theirs)) and not any(environ.get(variable) for variable in _VARIABLES[ours]):
            found[ours] = value
    return found


def _section(path: str, name: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(strict=False)  # a secret may hold a %
    try:
        parser.read(Path(path).expanduser(), encoding="utf-8")
        return dict(parser[name]) if parser.has_section(name) else {}
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
