"""Keys that a profile brings along from Nemotron's launcher, in this one's terms.

    nemo_run_dir, workspace     the job root, where `remote_job_dir` is not given; over SSH without any, ~/nemo-run
    lustre_mount                one of `mounts`
    packager_include_pattern    `code` with packager = "pattern", where it matches anything of the checkout
    ./data in mounts            below the checkout

The rest of them (keys.NEMOTRON) stays as it is, and a check says that it has no effect.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automodel_launch.errors import ProfileError
from automodel_launch.profile.schema import EXECUTORS, keys_of

_RELATIVE = ("./", "../")
HOME_JOB_ROOT = "~/nemo-run"  # of a cluster that is reached over SSH, where nothing names another
DEFAULT = "default"
_AUTO_MOUNT = "${auto_mount:"


def translate(
    values: Mapping[str, Any], sources: Mapping[str, str], base: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """A merged profile in which what has a meaning here stands under its name here; `base` is the checkout.

    Raises:
        ProfileError: a relative path of a cluster that is reached over SSH, or a mount that Nemotron would make.
    """
    values, sources = dict(values), dict(sources)
    executor = values.get("executor")
    if executor in EXECUTORS and "tunnel" in keys_of(executor):  # of a cluster
        _job_root(values, sources)
        _lustre(values, sources)
    _pattern(values, sources, base)
    _absolute(values, sources, base)
    return values, sources


def ignored(section: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings of [artifacts] that have no effect here."""
    asked = {"backend": "wandb", "wandb": True}
    return tuple(f"[artifacts] {key}" for key, value in asked.items() if section.get(key) == value)


def _take(values: dict[str, Any], sources: dict[str, str], key: str, name: str, value: Any) -> None:
    del values[key]
    values[name] = value
    sources[name] = f"{sources.pop(key, '')} {key}".strip()


def _job_root(values: dict[str, Any], sources: dict[str, str]) -> None:
    if values.get("remote_job_dir") is not None:
        return
    if isinstance(values.get("nemo_run_dir"), str):
        _take(values, sources, "nemo_run_dir", "remote_job_dir", values["nemo_run_dir"])
    elif isinstance(values.get("workspace"), str) and values.get("tunnel") == "ssh":
        _take(values, sources, "workspace", "remote_job_dir", f"{values['workspace'].rstrip('/')}/nemo-run")
    elif values.get("tunnel") == "ssh":  # which only a person can choose well: a check says so
        values["remote_job_dir"], sources["remote_job_dir"] = HOME_JOB_ROOT, DEFAULT


def _lustre(values: dict[str, Any], sources: dict[str, str]) -> None:
    mount, mounts = values.get("lustre_mount"), values.get("mounts", [])
    if mount == "":  # its default, /lustre:/lustre, switched off; nothing is mounted unasked here
        del values["lustre_mount"]
    elif isinstance(mount, str) and isinstance(mounts, list | tuple):
        source = sources.get("mounts")
        _take(values, sources, "lustre_mount", "mounts", [*mounts, *([] if mount in mounts else [mount])])
        sources["mounts"] = source or sources["mounts"]


def _pattern(values: dict[str, Any], sources: dict[str, str], base: Path) -> None:
    pattern, packager = values.get("packager_include_pattern"), values.get("packager")
    patterns = [pattern] if isinstance(pattern, str) else pattern
    code = values.get("code") or []
    if not isinstance(patterns, list) or not any(isinstance(text, str) and _matches(text, base) for text in patterns):
        return
    if packager == "pattern" or (packager is None and not code):
        _take(values, sources, "packager_include_pattern", "code", [*code, *patterns])
        values["packager"] = "pattern"
        sources.setdefault("packager", sources["code"])


def _matches(pattern: str, base: Path) -> bool:
    """Nemotron's own sources, which its files name, are not here."""
    return any(True for _ in glob.iglob(pattern, root_dir=base, recursive=True))  # noqa: PTH207 (Path has no root_dir)


def _absolute(values: dict[str, Any], sources: dict[str, str], base: Path) -> None:
    mounts = values.get("mounts")
    if not isinstance(mounts, list | tuple):
        return
    where = f"mounts ({sources.get('mounts', 'mounts')})"
    for mount in mounts:
        if isinstance(mount, str) and mount.startswith(_AUTO_MOUNT):
            message = f"{where}: {mount!r}: a repository that Nemotron's launcher would clone; this one does not."
            raise ProfileError(message, "clone it, and mount its directory; code = [...] takes your own along")
        if isinstance(mount, str) and mount.startswith(_RELATIVE) and values.get("tunnel") == "ssh":
            message = f"{where}: {mount!r} is relative, and the cluster is another machine."
            raise ProfileError(message, f'a path of the cluster: "/lustre/{mount.lstrip("./")}"')
    values["mounts"] = [_below(mount, base) for mount in mounts]


def _below(mount: Any, base: Path) -> Any:
    if not (isinstance(mount, str) and mount.startswith(_RELATIVE)):
        return mount
    source, colon, rest = mount.partition(":")
    return f"{os.path.abspath(base / source)}{colon}{rest}"  # noqa: PTH100 (lexically: links stay links)
