"""The resolved YAML file -> Config.

output_dir: DIR             what the stages leave; its .curate/ holds logs, marks of finished tasks and counts
workers: N                  tasks at once on a node; null: its CPUs
stages:                     one after another; each
  - name: filter            names its directory below .curate/
    tasks: 64               parts that its input is cut into, by datatrove: whole files
    pipeline:               datatrove's steps in order: a class and its arguments
      - {_target_: datatrove.pipeline.readers.JsonlReader, data_folder: DIR}
      - {_target_: steps.py:Mine, least: 100}       one of a file of one's own
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep_lib import addresses, schema
from data_prep_lib.config import cpus, read_yaml
from data_prep_lib.errors import ConfigError

TARGET = "_target_"
# Arguments of datatrove's steps that are directories, or a file with names.
_PATHS = ("_folder", "paths_file")


@dataclass(frozen=True)
class Stage:
    """`where`: its key in the configuration, for messages."""

    where: str
    name: str
    tasks: int
    pipeline: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Config:
    output_dir: Path
    stages: tuple[Stage, ...]
    workers: int

    @property
    def state(self) -> Path:
        return self.output_dir / ".curate"

    def logs(self, stage: Stage) -> Path:
        """What datatrove leaves of a stage: logs/, stats/, completions/."""
        return self.state / stage.name


def load(path: Path) -> Config:
    """Read and check the file.

    Raises:
        ConfigError: a key or a value of it.
    """
    given = schema.closed("", read_yaml(path, "--config"), _KEYS, required=("output_dir", "stages"))
    return Config(given["output_dir"], given["stages"], given.get("workers") or cpus())


def _stages(key: str, value: Any) -> tuple[Stage, ...]:
    if not isinstance(value, list) or not value:
        raise schema.bad(key, value, "a list with at least one {name, tasks, pipeline}")
    found: dict[str, Stage] = {}
    for i, item in enumerate(value):
        where = f"{key}[{i}]"
        stage = Stage(where, **schema.closed(where, item, _STAGE_KEYS, required=("name", "tasks", "pipeline")))
        if stage.name in found:
            raise ConfigError(f"{where}.name: {stage.name!r} is that of {found[stage.name].where}, too")
        found[stage.name] = stage
    return tuple(found.values())


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise schema.bad(key, value, "letters, digits, '.', '_' and '-', beginning with a letter or digit")
    return value


def _pipeline(key: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not value:
        raise schema.bad(key, value, "a list of steps, the first a reader")
    for i, step in enumerate(value):
        if not isinstance(step, dict) or not isinstance(step.get(TARGET), str):
            raise schema.bad(f"{key}[{i}]", step, f"{TARGET}: MODULE.CLASS or FILE.py:CLASS, and its arguments")
    return tuple(_with_paths(f"{key}[{i}]", step) for i, step in enumerate(value))


def _with_paths(key: str, value: Any) -> Any:
    """Folders as data-prep takes its own: `~` is the home directory, a relative one is below the working directory.

    What is absolute stays as it is written: an output_dir is begun with it.
    """
    if isinstance(value, Mapping):
        return {name: _with_paths(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(key, item) for item in value]
    if isinstance(value, str) and value and key.endswith(_PATHS) and not value.startswith("/") and "://" not in value:
        return str(schema.path(key, value))
    return value


_STAGE_KEYS: dict[str, schema.Check] = {"name": _name, "tasks": schema.count, "pipeline": _pipeline}
_KEYS: dict[str, schema.Check] = {
    "output_dir": addresses.directory,
    "workers": schema.optional(schema.count),
    "stages": _stages,
    "run": lambda key, value: value,  # the launcher's
}
