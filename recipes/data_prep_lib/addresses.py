"""Addresses of object stores and web servers in a configuration, and directories that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep_lib import schema, stores
from data_prep_lib.errors import ConfigError


def of_input(key: str, value: str) -> str:
    """An object store's or a web server's; what is secret has no place in it, as configs are shown."""
    scheme, _, rest = value.partition("://")
    place, _, name = rest.partition("/")
    if f"{scheme}://" not in stores.SCHEMES:
        raise schema.bad(key, f"{scheme}://...", f"a path, or one of hf://, {', '.join(stores.SCHEMES)}")
    if "@" in place or (scheme.startswith("http") and "?" in rest):
        raise ConfigError(
            f"{key}: a {scheme}:// address with a user or a query may hold a secret, which logs would show\n"
            "  name s3://BUCKET/KEY and give the credentials as secrets of the profile, or download the file"
        )
    if not place or (scheme.startswith("http") and not name.strip("/")):
        raise schema.bad(key, value, "s3://BUCKET/KEY, gs://BUCKET/KEY or https://HOST/PATH")
    return value


def directory(key: str, value: Any) -> Path:
    if "://" in schema.text(key, value):
        raise ConfigError(
            f"{key}: {value} is no directory, and it has to be one: it holds locks while it is made\n"
            f"  name a directory that the nodes see; `upload: {value}` copies it there when it is complete"
        )
    return schema.path(key, value)


def of_output(key: str, value: Any) -> str:
    if not schema.text(key, value).startswith(("s3://", "gs://")):
        raise schema.bad(key, value, "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    return of_input(key, value).rstrip("/")
