"""Which executors a key of a profile has an effect under: said once, on the schema's field."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from automodel_launch.errors import ProfileError
from automodel_launch.profile import keys, schema
from automodel_launch.profile.keys import NEMOTRON, SYNONYMS
from automodel_launch.profile.schema import EXECUTORS, KEYS, Executor, keys_of
from automodel_launch.profile.validation import validate
from tests.conftest import ROOT

EVERYWHERE = {
    *("executor", "nodes", "gpus_per_node", "nproc_per_node", "gpu", "python", "rdzv_port", "setup_lines"),
    *("startup_commands", "env_vars", "env", "secrets", "stop_grace", "stall", "notify", "max_nan_steps", "launcher"),
    *("rehearse", "rank_times", "track"),
    *("code", "packager", "remote_job_dir", "data_dir"),
}
SLURM = {
    *("account", "time", "mem", "exclusive", "qos", "constraint", "exclude", "gres", "signal", "segment", "network"),
    *(
        "reservation",
        "nodelist",
        "dependency",
        "comment",
        "partition",
        "run_partition",
        "batch_partition",
        "cpus_per_task",
    ),
    *(
        "chain",
        "until",
        "max_failures",
        "max_gpu_hours",
        "on_checkpoint",
        "container_image",
        "mounts",
        "container_runtime",
    ),
    *("container_writable", "container_mount_home", "container_env", "container_workdir", "image_cache"),
    *("build_partition", "build_time", "srun_args", "additional_parameters", "tunnel", "host", "user", "identity"),
    *("agent_python", "rehearse_in", "spares", "venv_archive"),
}
DOCKER = {
    *("container_image", "mounts", "container_workdir", "runtime", "ipc_mode", "shm_size", "docker_args"),
    "agent_python",
}


@pytest.mark.parametrize(("executor", "more"), [("local", set()), ("slurm", SLURM), ("docker", DOCKER)])
def test_the_keys_of_each_executor(executor: Executor, more: set[str]) -> None:
    assert keys_of(executor) == EVERYWHERE | more


def test_every_key_has_an_effect_somewhere() -> None:
    assert set(KEYS) - {*NEMOTRON} == set().union(*map(keys_of, EXECUTORS))


def test_keys_of_nemotrons_are_told_from_those_of_this_launcher() -> None:
    assert {key for key in KEYS if not any(key in keys_of(name) for name in EXECUTORS)} == {*NEMOTRON}
    assert keys.EXECUTORS == EXECUTORS


def _described() -> dict[str, set[str]]:
    """Key -> executors, of the third column in docs/env-toml.md."""
    text = (ROOT / "docs" / "env-toml.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|[^|]*\| ([a-z, ]+) \|", text, re.MULTILINE)
    assert {word for _, column in rows for word in column.split(", ")} <= {"all", *EXECUTORS}
    sets: dict[str, set[str]] = {
        column: set(EXECUTORS) if column == "all" else set(column.split(", ")) for _, column in rows
    }
    return {key: sets[column] for keys, column in rows for key in re.findall(r"`(\w+)`", keys)}


def test_the_documented_executors_are_those_of_the_schema() -> None:
    described = {SYNONYMS.get(key, key): executors for key, executors in _described().items() if key != "extends"}
    assert described == {
        key: {name for name in EXECUTORS if key in keys_of(name)} for key in KEYS if key not in NEMOTRON
    }


def test_the_schema_is_not_loaded_for_the_names_of_profiles() -> None:
    code = "import sys; from automodel_launch.profile import profiles, keys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_sections_have_the_names_that_are_known_without_the_schema() -> None:
    from automodel_launch.profile.keys import SECTION_NAMES

    assert tuple(schema.SECTIONS) == SECTION_NAMES


@pytest.mark.parametrize("entry", ["wandb", "wandb:", "mlflow:a b", "tensorboard:x", "comet:p", "wandb:a/b"])
def test_a_tracker_that_is_none_is_refused_with_what_is_valid(entry: str) -> None:
    with pytest.raises(ProfileError, match="wandb:PROJECT, mlflow:EXPERIMENT or tensorboard"):
        validate({"track": [entry]}, str)
