"""`run.data: NAME:latest` and `${art:data,path}`: what data preparation has made, by its name and version.

An artifact is a manifest, ROOT/NAME/vN/manifest.json, with ROOT/NAME/latest -> vN; ROOT is `root` of [artifacts] in
env.toml, else artifacts/ in the data directory. Data preparation writes it (recipes/data_prep_lib/artifact.py). A plan
holds the version and the path that a reference meant when it was made, so `latest` never moves under a job.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.suggest import did_you_mean

_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(:(?P<version>latest|v[1-9]\d*))?")


class Unresolved(Exception):
    """A reference that cannot be resolved: what is wrong, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Artifacts:
    """Look-ups of one plan; each manifest is read once, and only where a config refers to it.

    Attributes:
        root: the artifacts' directory, on the side where the job runs.
        file_system: the one that holds it; None where it may not be read (--offline).
        used: key of `run` (data) -> its manifest.
    """

    root: str
    file_system: FileSystem | None
    used: dict[str, dict[str, Any]] = field(default_factory=dict)

    def lookup(self, key: str, reference: object, wanted: str) -> Any:
        """The field (a.b for one inside another) of the artifact that `run.KEY` names.

        Raises:
            Unresolved: no such artifact, version or field.
            ClusterError: its file system cannot be reached.
        """
        if key not in self.used:
            self.used[key] = self._read(key, reference)
        value: Any = self.used[key]
        for part in wanted.split("."):
            if not isinstance(value, dict) or value.get(part) is None:
                known = [name for name, entry in self.used[key].items() if isinstance(entry, str)]
                message = (
                    f"the artifact {name_of(self.used[key])} has no field '{wanted}'.{did_you_mean(wanted, known)}"
                )
                raise Unresolved(message, f"fields: {', '.join(known)}")
            value = value[part]
        return value

    def _read(self, key: str, reference: object) -> dict[str, Any]:
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            fault = "is not set" if reference is None else f"= {reference!r} is not an artifact"
            raise Unresolved(f"run.{key} {fault}.", f"run.{key}=NAME:latest or NAME:vN, as data-prep has written them")
        if self.file_system is None:
            raise Unresolved(f"run.{key} = {reference}: artifacts are on the cluster.", "leave --offline out")
        name, version = match["name"], match["version"] or "latest"
        path = f"{self.root}/{name}/{version}/manifest.json"
        content = self.file_system.read(path)
        if content is None:
            raise self._missing(key, name, version)
        try:
            manifest = json.loads(content[0])
        except (ValueError, RecursionError):
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("version"), str):
            raise Unresolved(f"run.{key} = {reference}: {path} is not a manifest.", "run data-prep again")
        return manifest

    def _missing(self, key: str, name: str, version: str) -> Unresolved:
        assert self.file_system is not None
        names = [n for n in self.file_system.names(self.root) if not n.startswith(".")]
        if name not in names:
            hint = f"artifacts: {', '.join(names)}" if names else "python launch.py data-prep makes them"
            return Unresolved(f"run.{key}: no artifact '{name}' in {self.root}.{did_you_mean(name, names)}", hint)
        versions = [n for n in self.file_system.names(f"{self.root}/{name}") if re.fullmatch(r"v\d+", n)]
        versions.sort(key=lambda n: int(n[1:]))
        hint = f"versions: latest, {', '.join(versions)}" if versions else "data-prep has not finished it yet"
        return Unresolved(f"run.{key}: artifact '{name}' has no {version} in {self.root}.", hint)


def name_of(manifest: dict[str, Any]) -> str:
    """NAME:vN."""
    return f"{manifest.get('name')}:{manifest.get('version')}"
