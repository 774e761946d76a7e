"""SPEC.json, the launcher's order to the agents of one job: refused if anything in it is not understood."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from typing import Any

import contract


class SpecError(Exception):
    """The spec cannot be read or does not hold what it must."""


@dataclass(frozen=True)
class Rendezvous:
    """How the nodes' torchruns find each other; port None: one node, any free port. `fixed`: it is a person's word."""

    id: str
    port: int | None
    fixed: bool = False


@dataclass(frozen=True)
class Spec:
    """One job, the same for every node of it."""

    schema: int
    job_id: str
    run_name: str
    job_dir: str
    run_dir: str
    code_dir: str
    python: str
    launch: str
    script: str
    args: list[str]
    nnodes: int
    nproc_per_node: int
    rendezvous: Rendezvous
    env: dict[str, str]
    setup_lines: list[str]
    startup_commands: list[str]
    secrets_file: str | None
    stop_grace_s: float
    heartbeat_s: float
    stop_with_parent: bool
    stall_s: float | str | None  # without progress for so long, the job counts as hung; "auto": see auto_stall.py
    max_nan_steps: int | None = None  # steps in a row without a loss that is a number; None: any number
    chain: dict[str, Any] | None = None  # read by chain.py
    checkpoint_dir: str | None = None  # where the recipe saves; None: not known
    workdir: str | None = None  # of startup commands and training; None: code_dir
    agent_python: str | None = None  # read by node_agent.sh
    data: dict[str, Any] | None = None  # what it trains on, read by data.py; None: nothing that is known
    notify: list[str] | None = None  # who is told of the job's end, read by notify.py
    track: list[str] | None = None  # experiment trackers that are told of the metrics, read by tracking.py
    spares: int = 0  # nodes of the Slurm job beyond nnodes, which wait until one of those is lost (keeper.py)
    venv_archive: str | None = None  # where the Python comes from, unpacked by venv.py
    backend: str = contract.AUTOMODEL  # what trains; launchers before the key knew AutoModel only

    @property
    def directory(self) -> str:
        """Working directory of startup commands and training."""
        return self.workdir or self.code_dir

    @property
    def ranks_per_node(self) -> int:
        """Training processes of this node: the script itself under `python`, the launcher's workers otherwise."""
        return 1 if self.launch == "python" else self.nproc_per_node

    @property
    def restarts(self) -> bool:
        """Whether the launcher starts failed ranks again within the attempt."""
        return self.launch == contract.FT_LAUNCHER

    @property
    def script_path(self) -> str:
        """The script, absolute."""
        return os.path.join(self.code_dir, self.script)


def load(path: str) -> Spec:
    """The spec in `path`; SpecError names the file and every fault."""
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: {error}") from None
    faults = _faults(raw)
    if faults:
        raise SpecError("{}: {}".format(path, "; ".join(faults)))
    return Spec(**dict(raw, rendezvous=Rendezvous(**raw["rendezvous"])))


def _faults(raw: Any) -> list[str]:
    if not isinstance(raw, dict):
        return ["not a JSON object"]
    known = {field.name for field in fields(Spec)}
    faults = [f"unknown key {key!r}" for key in sorted(set(raw) - known)]
    faults += [f"missing key {key!r}" for key in sorted(known - set(raw) - _OPTIONAL)]
    wrong = [key for key in sorted(known & set(raw)) if not _ok(key, raw[key])]
    faults += [f"{key}: expected {_EXPECTED[key]}" for key in wrong]
    return faults or _contradictions(raw)


def _contradictions(raw: dict[str, Any]) -> list[str]:
    if raw["nnodes"] > 1 and raw["launch"] != "python" and raw["rendezvous"]["port"] is None:
        return ["rendezvous.port: needed with more than one node"]
    return []


_OPTIONAL = set(contract.AGENT_OPTIONAL_KEYS)
_STRINGS = {"job_id", "run_name", "python", "script"}
_PATHS = {"job_dir", "run_dir", "code_dir"}
_COUNTS = {"nnodes", "nproc_per_node"}
_LISTS = {"args", "setup_lines", "startup_commands"}
_SECONDS = {"stop_grace_s", "heartbeat_s"}
_EXPECTED = {
    **dict.fromkeys(_STRINGS, "a non-empty string"),
    **dict.fromkeys(_PATHS, "an absolute path"),
    **dict.fromkeys(_COUNTS, "an integer of at least 1"),
    **dict.fromkeys(_LISTS, "a list of strings without NUL"),
    **dict.fromkeys(_SECONDS, "a number above 0"),
    "schema": str(contract.AGENT_SCHEMA),
    "launch": '"torchrun", "ft" or "python"',
    "backend": " or ".join(f'"{name}"' for name in contract.BACKENDS),
    "rendezvous": '{"id": string, "port": integer or null}, with "fixed": true or false where a person gave the port',
    "env": "an object of names and strings without NUL",
    "secrets_file": "an absolute path or null",
    "stall_s": f'a number above 0, "{contract.STALL_AUTO}" or null',
    "workdir": "an absolute path or null",
    "agent_python": "a non-empty string or null",
    **dict.fromkeys(("checkpoint_dir", "venv_archive"), "an absolute path or null"),
    **dict.fromkeys(("notify", "track"), "a list of strings without NUL or null"),
    "max_nan_steps": "an integer of at least 1 or null",
    "spares": "an integer of at least 0",
    "data": '{"named": [[form, value]], "allow": digest, true or null, "caches": [paths]} or null',
    "chain": '{"jobs": integer or null, "failures": integer, "exclude": [names]} or null'
    ', with "max_gpu_hours": number, "gpus": integer where it has a budget',
    "stop_with_parent": "true or false",
}


def _ok(key: str, value: Any) -> bool:
    if key in _STRINGS:
        return _is_string(value) and bool(value)
    if key in _PATHS:
        return _is_path(value)
    if key in _COUNTS:
        return _is_int(value) and value >= 1
    if key in _LISTS:
        return isinstance(value, list) and all(_is_string(item) for item in value)
    if key in _SECONDS:
        return _is_seconds(value)
    if key == "stall_s":
        return value is None or value == contract.STALL_AUTO or _is_seconds(value)
    if key == "schema":
        return _is_int(value) and value == contract.AGENT_SCHEMA
    if key == "launch":
        return value in contract.LAUNCHES
    if key == "backend":
        return value in contract.BACKENDS
    if key == "rendezvous":
        return _is_rendezvous(value)
    if key == "env":
        return isinstance(value, dict) and all(_is_variable(name, item) for name, item in value.items())
    if key == "max_nan_steps":
        return value is None or (_is_int(value) and value >= 1)
    if key == "spares":
        return _is_int(value) and value >= 0
    if key in ("notify", "track"):
        return value is None or (isinstance(value, list) and all(_is_string(item) for item in value))
    if key == "agent_python":
        return value is None or (_is_string(value) and bool(value))
    if key == "chain":
        return value is None or _is_chain(value)
    if key == "data":
        return value is None or _is_data(value)
    if key in ("secrets_file", "workdir", "checkpoint_dir", "venv_archive"):
        return value is None or _is_path(value)
    return isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_path(value: Any) -> bool:
    return _is_string(value) and os.path.isabs(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and bool(value > 0)


def _is_variable(name: str, value: Any) -> bool:
    return _is_string(name) and bool(name) and "=" not in name and _is_string(value)


def _is_chain(value: Any) -> bool:
    needed, budget = set(contract.AGENT_CHAIN_KEYS), set(contract.AGENT_CHAIN_OPTIONAL_KEYS)
    if not isinstance(value, dict) or set(value) not in (needed, needed | budget):
        return False
    counts = [value["failures"]] + ([] if value["jobs"] is None else [value["jobs"]])
    if contract.MAX_GPU_HOURS in value:
        counts.append(value[contract.PLANNED_GPUS])
        if not _is_seconds(value[contract.MAX_GPU_HOURS]):
            return False
    names = value["exclude"]
    return all(_is_int(n) and n >= 1 for n in counts) and isinstance(names, list) and all(map(_is_string, names))


def _is_data(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != set(contract.AGENT_DATA_KEYS):
        return False
    named, caches, allow = value["named"], value["caches"], value["allow"]
    pairs = isinstance(named, list) and all(isinstance(item, list) and len(item) == 2 for item in named)
    paths = isinstance(caches, list) and all(map(_is_path, caches))
    return pairs and paths and (allow is None or allow is True or _is_string(allow))


def _is_rendezvous(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) - {"fixed"} != {"id", "port"}:
        return False
    if not _is_string(value["id"]) or not value["id"] or not isinstance(value.get("fixed", False), bool):
        return False
    port = value["port"]
    return port is None or (_is_int(port) and 0 < port < 65536)
