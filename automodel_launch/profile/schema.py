"""The closed schema of env.toml: every key of a profile with its type, and the sections that are no profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automodel_launch.errors import ProfileError
from automodel_launch.profile.profiles import SYNONYMS
from automodel_launch.suggest import did_you_mean, nearest

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Names = tuple[Text, ...]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Profile(_Closed):
    """Where and how a job runs. Field names are the keys of env.toml; docs/env-toml.md describes each."""

    executor: Literal["local", "slurm", "docker"] = "local"

    # size
    nodes: Count = 1
    gpus_per_node: Amount | None = None
    nproc_per_node: Count | Literal["auto"] | None = None
    gpu: Text | None = None

    # in the job
    python: Text | None = None
    setup_lines: str | tuple[str, ...] = ()
    startup_commands: Names = ()
    env_vars: dict[str, str] = {}
    env: Names = ()
    secrets: Names = ()
    launcher: Literal["torchrun", "ft"] = "torchrun"
    rdzv_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    stop_grace: Count = 120
    stall: Annotated[str, Field(pattern=r"^(off|[1-9][0-9]*[smh])$")] | None = None

    # further attempts
    chain: Count | None = None
    until: Literal["done"] | None = None
    max_failures: Count = 3
    max_nan_steps: Count | None = None

    # what travels, and where to
    code: Names = ()
    packager: Literal["git", "pattern", "none"] | None = None
    remote_job_dir: Text | None = None
    data_dir: Text | None = None

    # Slurm
    account: Text | None = None
    partition: Text | None = None
    run_partition: Text | None = None
    batch_partition: Text | None = None
    build_partition: Text | None = None  # Nemotron's keys for jobs that build images
    build_time: Text | None = None
    time: Text | None = None
    cpus_per_task: Count | None = None
    mem: Text | None = None
    exclusive: bool | Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    reservation: Text | None = None
    nodelist: Text | None = None
    exclude: Text | None = None
    gres: Text | None = None
    signal: Text | None = None
    segment: Count | None = None
    network: Text | None = None
    dependency: Text | None = None
    srun_args: Names = ()
    additional_parameters: dict[str, str | int | float | bool] = {}

    # SSH
    tunnel: Literal["ssh", "local"] | None = None
    host: Text | None = None
    user: Text | None = None
    identity: Text | None = None

    # containers
    container_image: Text | None = None
    container_runtime: Text | None = None
    container_writable: bool | None = None
    container_mount_home: bool | None = None
    container_env: Names = ()
    container_workdir: Text | None = None
    image_cache: Text | None = None
    mounts: Names = ()
    docker_args: Names = ()
    runtime: Text | None = None
    ipc_mode: Text | None = None
    shm_size: Text | None = None


class Wandb(_Closed):
    """Weights & Biases defaults; configs read them as ${run.wandb.project} and ${run.wandb.entity}."""

    project: Text | None = None
    entity: Text | None = None


class Artifacts(_Closed):
    """Where artifacts lie; configs read it as ${run.artifacts.root}."""

    root: Text | None = None
    backend: Literal["file", "wandb"] | None = None  # Nemotron's key; read by nothing here


class Cache(_Closed):
    """Caches; configs read it as ${run.cache.git_dir}."""

    git_dir: Text | None = None


class Cli(_Closed):
    """How the launcher talks: `plain` has no colour even on a terminal."""

    theme: Text = "dark"


SECTIONS: dict[str, type[_Closed]] = {"wandb": Wandb, "artifacts": Artifacts, "cache": Cache, "cli": Cli}
KEYS: tuple[str, ...] = tuple(Profile.model_fields)
WRITTEN_KEYS: tuple[str, ...] = (*KEYS, *SYNONYMS, "extends")


def check_section(name: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    """The values of a section that is no profile.

    Raises:
        ProfileError: an unknown key or a wrong type.
    """
    try:
        return SECTIONS[name].model_validate(_tuples(table)).model_dump(exclude_none=True)
    except ValidationError as error:
        known = tuple(SECTIONS[name].model_fields)
        raise _error(error, table, where, known) from None


def check_table(table: dict[str, Any], where: str) -> None:
    """Check one table of env.toml by itself, before inheritance.

    Raises:
        ProfileError: an unknown key or a wrong type.
    """
    both = [k for k, synonym in SYNONYMS.items() if k in table and synonym in table]
    if both:
        raise ProfileError(f"{where}: '{both[0]}' and '{SYNONYMS[both[0]]}' mean the same; give one of them.")
    values = {SYNONYMS.get(k, k): v for k, v in table.items() if k != "extends"}
    if not isinstance(table.get("extends", ""), str):
        raise ProfileError(f"{where}: extends = {table['extends']!r} is not the name of a profile.")
    written = {SYNONYMS.get(k, k): k for k in table}
    validate(values, lambda key: f"{where}: {written.get(key, key)}")


def validate(values: dict[str, Any], place: Any) -> Profile:
    """A Profile out of merged values; `place(key)` tells where a key was set.

    Raises:
        ProfileError: an unknown key, a wrong type or a value out of range.
    """
    try:
        return Profile.model_validate(_tuples(values))
    except ValidationError as error:
        raise _error(error, values, place, WRITTEN_KEYS) from None


def _error(error: ValidationError, values: dict[str, Any], place: Any, known: tuple[str, ...]) -> ProfileError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    where = place(key) if callable(place) else f"{place}: {key}"
    if first["type"] == "extra_forbidden":
        if key in known:  # `extends` in a config or an override
            return ProfileError(f"{where}: stands in env.toml only.", "--run NAME or --batch NAME chooses a profile")
        near = nearest(key, known)
        return ProfileError(
            f"{where}: unknown key.{did_you_mean(key, known)}",
            f"write {near} = ..." if near else f"known keys: {', '.join(known)}",
        )
    kinds = sorted({k for e in error.errors() if e["loc"][0] == key for k in _expected(e)})
    value = values.get(key)
    if isinstance(value, dict) and len(first["loc"]) > 1:  # one variable of a table, and not the values of the others
        where, value = f"{where}: {first['loc'][1]}", value.get(first["loc"][1])
    return ProfileError(
        f"{where} = {value!r} is not valid: expected {' or '.join(kinds)}.", _example(key, value, kinds)
    )


def _example(key: str, value: Any, kinds: list[str]) -> str | None:
    """The same value in the form that the key wants, where that can be told."""
    if key == "time":  # a bare number would be minutes for Slurm, and hours for most people
        return 'time = "04:00:00", which is hours:minutes:seconds'
    if kinds == ["a text"] and isinstance(value, int | float) and not isinstance(value, bool):
        return f'{key} = "{value}"'
    if kinds == ["a list of texts"] and isinstance(value, str):
        return f'{key} = ["{value}"]'
    if kinds == ["a whole number"] and isinstance(value, str) and value.isdigit():
        return f"{key} = {value}"
    return None


def _expected(error: Any) -> Iterator[str]:
    context = error.get("ctx", {})
    names = {
        "int_type": "a whole number",
        "string_type": "a text",
        "bool_type": "true or false",
        "tuple_type": "a list of texts",
        "dict_type": "a table",
        "float_type": "a number",
        "string_too_short": "a text that is not empty",
        "greater_than_equal": f"a number of at least {context.get('ge')}",
        "less_than_equal": f"a number of at most {context.get('le')}",
        "string_pattern_mismatch": 'a time such as "90s", "15m" or "1h", or "off"',
        "literal_error": str(context.get("expected")),
    }
    yield names.get(error["type"], error["msg"])


def _tuples(value: Any) -> Any:
    """Lists as tuples, so that strict pydantic takes TOML's lists and a Profile stays immutable."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value
