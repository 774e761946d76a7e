"""The closed schema of env.toml: every key of a profile with its type and its effect, and the other sections."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from automodel_launch.profile.keys import HOST, NOTIFY, PYTHON, STALL, SYNONYMS, TRACK

Executor = Literal["local", "slurm", "docker"]


@dataclass(frozen=True)
class Effect:
    """Marks a key that has an effect under some executors only; one without the mark has it under all of them."""

    executors: frozenset[Executor]


T = TypeVar("T")
Slurm = Annotated[T, Effect(frozenset({"slurm"}))]
Docker = Annotated[T, Effect(frozenset({"docker"}))]
SlurmOrDocker = Annotated[T, Effect(frozenset({"slurm", "docker"}))]
Brought = Annotated[Any, Effect(frozenset())]  # read by Nemotron's launcher (keys.NEMOTRON)

_MOST = 2**31 - 1  # what Slurm and torch have for a count
Count = Annotated[int, Field(ge=1, le=_MOST)]
Amount = Annotated[int, Field(ge=0, le=_MOST)]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]
String = Annotated[str, Field(min_length=1)]
Names = tuple[String, ...]


class Closed(BaseModel):
    """A table in which an unknown key is an error. Its validator is made when it is first needed, by `built`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Profile(Closed):
    """Where and how a job runs. Field names are the keys of env.toml; docs/env-toml.md describes each."""

    executor: Executor = "local"

    # size
    nodes: Count = 1
    spares: Slurm[Amount] = 0
    gpus_per_node: Amount | None = None
    nproc_per_node: Count | Literal["auto"] | None = None
    gpu: String | None = None

    # in the job
    python: String | None = None
    venv_archive: Slurm[String | None] = None
    agent_python: SlurmOrDocker[Annotated[str, Field(pattern=PYTHON)] | None] = None
    setup_lines: str | tuple[str, ...] = ()
    startup_commands: Names = ()
    env_vars: dict[str, str] = {}
    env: Names = ()
    secrets: Names = ()
    launcher: Literal["torchrun", "ft"] = "torchrun"
    rdzv_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    stop_grace: Count = 120
    stall: Annotated[str, Field(pattern=STALL)] | None = None

    # further attempts
    chain: Slurm[Count | None] = None
    until: Slurm[Literal["done"] | None] = None
    max_failures: Slurm[Count] = 3
    max_nan_steps: Count | None = None
    rank_times: Count | None = None
    max_gpu_hours: Slurm[Hours | None] = None
    on_checkpoint: Slurm[Literal["evaluate"] | None] = None

    # who is told
    notify: tuple[Annotated[str, Field(pattern=NOTIFY)], ...] = ()
    track: tuple[Annotated[str, Field(pattern=TRACK)], ...] = ()

    # before there is a job
    rehearse: Literal["auto", "off"] | Count = "auto"
    rehearse_in: Slurm[Literal["srun"] | None] = None

    # what travels, and where to
    code: Names = ()
    packager: Literal["git", "pattern", "none", "hybrid"] | None = None
    remote_job_dir: String | None = None
    data_dir: String | None = None

    # Slurm
    account: Slurm[String | None] = None
    partition: Slurm[String | None] = None
    run_partition: Slurm[String | None] = None
    batch_partition: Slurm[String | None] = None
    build_partition: Slurm[String | None] = None  # Nemotron's keys for jobs that build images
    build_time: Slurm[String | None] = None
    time: Slurm[String | None] = None
    cpus_per_task: Slurm[Count | None] = None
    mem: Slurm[String | None] = None
    exclusive: Slurm[bool | String | None] = None
    qos: Slurm[String | None] = None
    constraint: Slurm[String | None] = None
    reservation: Slurm[String | None] = None
    nodelist: Slurm[String | None] = None
    exclude: Slurm[String | None] = None
    gres: Slurm[String | None] = None
    signal: Slurm[String | None] = None
    segment: Slurm[Count | None] = None
    network: Slurm[String | None] = None
    dependency: Slurm[String | None] = None
    comment: Slurm[String | None] = None
    srun_args: Slurm[Names] = ()
    additional_parameters: Slurm[dict[str, str | int | float | bool]] = {}

    # SSH
    tunnel: Slurm[Literal["ssh", "local"] | None] = None
    host: Slurm[Annotated[str, Field(pattern=HOST)] | None] = None
    user: Slurm[String | None] = None
    identity: Slurm[String | None] = None

    # containers
    container_image: SlurmOrDocker[String | None] = None
    container_runtime: Slurm[String | None] = None
    container_writable: Slurm[bool | None] = None
    container_mount_home: Slurm[bool | None] = None
    container_env: Slurm[Names] = ()
    container_workdir: SlurmOrDocker[String | None] = None
    image_cache: Slurm[String | None] = None
    mounts: SlurmOrDocker[Names] = ()
    docker_args: Docker[Names] = ()
    runtime: Docker[String | None] = None
    ipc_mode: Docker[String | None] = None
    shm_size: Docker[String | None] = None

    # Nemotron's
    workspace: Brought = None
    nemo_run_dir: Brought = None
    lustre_mount: Brought = None
    packager_include_pattern: Brought = None
    run_command: Brought = None
    pip_extras: Brought = None
    build_cache_dir: Brought = None
    build_image: Brought = None
    build_registry: Brought = None
    build_include_gpus: Brought = None
    build_gpus_per_node: Brought = None
    ray_version: Brought = None
    existing_ray_cluster: Brought = None
    repo_root: Brought = None

    @property
    def setup(self) -> list[str]:
        """`setup_lines` as a list."""
        return [self.setup_lines] if isinstance(self.setup_lines, str) else list(self.setup_lines)

    @property
    def shell_lines(self) -> list[str]:
        """All that bash runs once a node before the training."""
        return [*self.setup, *self.startup_commands]


class Wandb(Closed):
    """Weights & Biases defaults; configs read them as ${run.wandb.project} and ${run.wandb.entity}."""

    project: String | None = None
    entity: String | None = None


class Manifest(Closed):
    """Where Nemotron has the root of its artifacts."""

    root: String | None = None


class Artifacts(Closed):
    """Where artifacts are stored; configs read it as ${run.artifacts.root}."""

    root: String | None = None
    manifest: Manifest | None = None
    backend: Literal["file", "wandb"] | None = None  # Nemotron's keys; read by nothing here
    wandb: bool | None = None


class Cache(Closed):
    """Caches; configs read it as ${run.cache.git_dir}."""

    git_dir: String | None = None


class Cli(Closed):
    """The launcher's output: `plain` has no colour even on a terminal."""

    theme: String = "dark"


Table = TypeVar("Table", bound=Closed)
_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
SECTIONS: dict[str, type[Closed]] = {"wandb": Wandb, "artifacts": Artifacts, "cache": Cache, "cli": Cli}
KEYS: tuple[str, ...] = tuple(Profile.model_fields)
WRITTEN_KEYS: tuple[str, ...] = (*KEYS, *SYNONYMS, "extends")
EXECUTORS: tuple[Executor, ...] = get_args(Executor)


def built(table: type[Table]) -> type[Table]:
    """The table, ready to validate: without pydantic's plugins, for which it reads the metadata of every package.

    What pydantic reads stands in the environment, which a job of this machine inherits: as it was, then.
    """
    if table.__pydantic_complete__:
        return table
    former = os.environ.get(_PLUGINS)
    os.environ[_PLUGINS] = "__all__"
    try:
        table.model_rebuild()
    finally:
        if former is None:
            del os.environ[_PLUGINS]
        else:
            os.environ[_PLUGINS] = former
    return table


def typed(key: str, text: str) -> str | int | float | bool:
    """A variable's value as the kind that the key has, where it is written like one."""
    kinds = set(_kinds(Profile.model_fields[key].annotation)) if key in KEYS else set()
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        if kind in kinds and str not in kinds:
            with contextlib.suppress(ValueError):
                return kind(text)
    return text


def _kinds(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def keys_of(executor: Executor) -> frozenset[str]:
    """The keys of a profile that have an effect under this executor."""
    return frozenset(key for key in KEYS if executor in _executors(key))


def _executors(key: str) -> frozenset[Executor]:
    marks = [mark for mark in Profile.model_fields[key].metadata if isinstance(mark, Effect)]
    return marks[0].executors if marks else frozenset(EXECUTORS)
