"""Names that env.toml gives a meaning to, for those who need them without the schema (pydantic takes 75 ms)."""

from __future__ import annotations

from typing import Any

EXECUTORS = ("local", "slurm", "docker")
SECTION_NAMES = ("wandb", "artifacts", "cache", "cli")
STALL = r"^(auto|off|[1-9][0-9]{0,8}[smh])$"  # patterns of values
TRACK = r"^(tensorboard|(wandb|mlflow):[^\s:/]+)$"
NOTIFY = r"^(mail:[^@\s]+@[^@\s]+|(slack:)?https?://\S+|(slack:)?env:[A-Za-z_]\w*)$"
PYTHON = r"^[A-Za-z0-9_./+@=-]+$"
# a name or an address, of which those of IPv6 have several colons, or what ssh takes with a port
HOST = r"^([^:\s]+|([^@\s]+@)?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%\w+)?|ssh://\S+)$"
SYNONYMS = {"ntasks_per_node": "nproc_per_node", "container": "container_image"}
BUILT_IN: dict[str, dict[str, Any]] = {"local": {"executor": "local", "nodes": 1, "nproc_per_node": "auto"}}
NEMOTRON = (  # keys of Nemotron's launcher: profile/brought.py gives a meaning to some, the others have none here
    *("workspace", "nemo_run_dir", "lustre_mount", "packager_include_pattern", "run_command", "pip_extras"),
    *("build_cache_dir", "build_image", "build_registry", "build_include_gpus", "build_gpus_per_node"),
    *("ray_version", "existing_ray_cluster", "repo_root"),
)
