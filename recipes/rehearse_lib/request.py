"""What a rehearsal is asked to do: one JSON object on standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1


class BadRequest(Exception):
    """The request cannot be understood; the message says which field, and what it takes."""


@dataclass(frozen=True)
class Request:
    """One rehearsal.

    `config` is a job's complete configuration, in which ${oc.env:NAME} may remain; `base` is the same one before the
    command line's `overrides`, None where it is not known. `env` holds variables of the job that the configuration
    refers to, `secrets` the names of those whose values stay where they are. `job_python` says that the job runs with
    this very Python; `cuda` that it has GPUs. `code` are the directories of the user's own that the job has on its
    path. `seconds` and `bytes` limit the whole rehearsal.
    """

    config: dict[str, Any]
    world_size: int = 1
    processes_per_node: int = 1
    script: str = "pretrain.py"
    base: dict[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    memory: bool = False
    seconds: float = 25.0
    bytes: int = 8 << 30
    job_python: bool = True
    code: tuple[str, ...] = ()
    cuda: bool = True

    def as_json(self) -> dict[str, Any]:
        """As it is sent to the worker."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {"schema": SCHEMA, **fields}


_TYPES: dict[str, tuple[type, ...]] = {
    "config": (dict,),
    "world_size": (int,),
    "processes_per_node": (int,),
    "script": (str,),
    "base": (dict, type(None)),
    "overrides": (list,),
    "env": (dict,),
    "secrets": (list,),
    "memory": (bool,),
    "seconds": (int, float),
    "bytes": (int,),
    "job_python": (bool,),
    "code": (list,),
    "cuda": (bool,),
}
_POSITIVE = ("world_size", "processes_per_node", "seconds", "bytes")
_OF_STRINGS = ("overrides", "secrets", "code")


def read(text: str) -> Request:
    """The request in a JSON text.

    Raises:
        BadRequest: it is none of this schema.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"the request is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadRequest("the request is not a JSON object")
    if content.pop("schema", None) != SCHEMA:
        raise BadRequest(f"schema must be {SCHEMA}")
    return of(content)


def of(content: Mapping[str, Any]) -> Request:
    """The request with these fields, of which only `config` must be there."""
    unknown = sorted(set(content) - set(_TYPES) - {"schema"})
    if unknown:
        raise BadRequest(f"unknown field {unknown[0]!r}; there are {', '.join(_TYPES)}")
    if "config" not in content:
        raise BadRequest("config is missing: the job's resolved configuration")
    given = {name: value for name, value in content.items() if name != "schema"}
    for name, value in given.items():
        _check(name, value)
        if name in _OF_STRINGS:
            given[name] = tuple(value)
    return Request(**given)


def _check(name: str, value: Any) -> None:
    types = _TYPES[name]
    if type(value) not in types:
        raise BadRequest(f"{name} must be of type {' or '.join(kind.__name__ for kind in types)}, not {value!r:.60}")
    if name in _POSITIVE and not value > 0:
        raise BadRequest(f"{name} must be above 0, not {value!r}")
    strings = value if name in _OF_STRINGS else [*value, *value.values()] if name == "env" else []
    if not all(isinstance(item, str) for item in strings):
        raise BadRequest(f"{name} must hold strings only")
