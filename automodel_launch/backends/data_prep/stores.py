"""What a job needs for the object stores that its config names: a package, and variables that this shell has."""

from __future__ import annotations

import os
from collections.abc import Iterator

from automodel_launch.backends import Config, Need
from automodel_launch.backends.data_prep import keys
from automodel_launch.config import envscope
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.secret_names import is_secret

PREFIXES = ("AWS_", "GOOGLE_")
# What the recipe's library reads of them; others of that prefix are of other programs.
_NAMES = {
    "s3://": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"),
        *("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SKIP_SIGNATURE"),
    ),
    "gs://": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SKIP_SIGNATURE"),
}


def not_given(plan: Plan) -> Iterator[Finding]:
    """What was looked at with this shell's variables is read by the job without them."""
    profile = plan.profile
    lines = profile.shell_lines
    if (plan.here and plan.image is None) or envscope.reads_a_file(lines):
        return  # the job has this shell's environment, or a file's that may set any
    known = {*profile.secrets, *profile.env, *profile.env_vars, *envscope.exported(lines)}
    for scheme, names in _NAMES.items():
        address = next((path for path in _addresses(plan.config) if path.startswith(scheme)), None)
        missing = [name for name in names if os.environ.get(name) and name not in known]
        if address and missing:
            secret = [name for name in missing if is_secret(name)]
            open_ = [name for name in missing if name not in secret]
            fixes = [f"secrets = {_list(secret)}"] if secret else []
            fixes += [f"env = {_list(open_)}"] if open_ else []
            message = f"{address} is read with {', '.join(missing)}, which this shell has and the job does not."
            yield Finding("warning", "data-prep-credentials", message, f"{' and '.join(fixes)} in the profile")


def packages(config: Config) -> Iterator[Need]:
    """obstore, for what lies in stores and on web servers."""
    key = next((key for key, path in _keys(config) if path.startswith((*_NAMES, "https://", "http://"))), None)
    if key:
        yield Need("obstore", key, "obstore")


def _addresses(config: Config) -> Iterator[str]:
    return (path for _, path in _keys(config))


def _keys(config: Config) -> Iterator[tuple[str, str]]:
    yield from keys.datasets(config)
    if isinstance(config.get("upload"), str):
        yield "upload", config["upload"]


def _list(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
