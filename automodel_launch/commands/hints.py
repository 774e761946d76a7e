"""What was most likely meant: hints for the mistakes that a tired person makes. Each is None where nothing fits."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automodel_launch.errors import LaunchError
from automodel_launch.suggest import nearest

if TYPE_CHECKING:
    from automodel_launch.config.merge import MergedConfig
    from automodel_launch.config.overrides import Override
    from automodel_launch.plan.recipes import Recipe
    from automodel_launch.profile.profiles import EnvFile
    from automodel_launch.workspace import Workspace

_LIKE = {
    "cancel": ("stop", "kill", "abort", "scancel", "terminate", "quit"),
    "jobs": ("ps", "queue", "list", "ls", "squeue", "job", "runs", "history"),
    "logs": ("log", "tail", "output", "cat"),
    "status": ("info", "show", "state", "describe", "stat", "sacct"),
    "attach": ("follow", "watch", "wait", "join"),
    "resume": ("continue", "restart", "requeue", "unpause", "retry"),
    "pause": ("suspend", "hold"),
    "check": ("validate", "lint", "verify", "dry-run", "--dry-run"),
    "configs": ("config",),
    "recipes": ("recipe",),
    "profiles": ("env", "envs", "clusters"),
    "evaluate": ("eval", "perplexity"),
    "nodes": ("node", "bad-nodes", "sinfo"),
    "image": ("images", "pull"),
    "doctor": ("diagnose", "ping"),
}
SYNONYMS = {word: command for command, words in _LIKE.items() for word in words}
_OF_SWEEPS = ("--sweep", "--sweep-file", "--at-most", "--stop-after-failures")  # that a launch alone takes
_TO_LAUNCH = ("run", "submit", "launch", "start", "sbatch", "train", "batch")
_TO_DELETE = ("rm", "remove", "delete", "clean")
_OF_A_PROFILE = {"profile": "--run", "env": "--run", "executor": "--run", "cluster": "--run", "on": "--run"}


def command(name: str, argv: Sequence[str]) -> str | None:
    """For a first word that is neither a command nor a recipe; `argv` is what follows it."""
    if name in SYNONYMS:
        return f"python launch.py {' '.join([SYNONYMS[name], *argv])}"
    if name in _TO_DELETE:
        return "python launch.py cancel JOB stops a job; python launch.py prune shows what of old ones can go"
    if name in _TO_LAUNCH:
        rest = " ".join(argv) or "RECIPE -c CONFIG"
        batch = " --batch PROFILE" if name in ("submit", "sbatch", "batch") and "--batch" not in argv else ""
        recipe = "pretrain " if name == "train" and not (argv and argv[0][0].isalpha()) else ""
        return f"a recipe's name comes first: python launch.py {recipe}{rest}{batch}"
    if name.endswith(".py") and "/" not in name and not Path(name).exists():
        return f"a recipe in recipes/ goes by its name: python launch.py {name[:-3].replace('_', '-')}"
    meant = "--version" if name == "version" else _nearest(name)
    return f"python launch.py {shlex.join([meant, *argv])}" if meant else None


def _nearest(name: str) -> str | None:
    """The recipe or command of which that is a misspelt name; as the error itself has it (plan/recipes.py)."""
    from automodel_launch import workspace
    from automodel_launch.commands import registry
    from automodel_launch.plan import recipes

    if name.endswith(".py") or "/" in name:
        return None
    with contextlib.suppress(LaunchError):
        return nearest(name, [*(recipe.name for recipe in recipes.available(workspace.find())), *registry.COMMANDS])
    return None


def first_word(argv: Sequence[str]) -> str:
    """For a command line that begins with an option."""
    from automodel_launch.commands import registry

    known = {*registry.COMMANDS, "pretrain", "data-prep", "gpu-check"}
    moved = next((word for word in argv if word in known), None)
    if moved is None:
        return "python launch.py --help"
    return f"python launch.py {' '.join([moved, *(word for word in argv if word != moved)])}"


def profile(name: str, recipe: str, here: Workspace) -> str | None:
    """For --run NAME or --batch NAME that is no profile: it may be a config's name."""
    from automodel_launch.plan import recipes

    try:
        known = _configs(recipes.find(here, recipe))
    except LaunchError:
        return None
    return f"{name} is a config of {recipe}: -c {name}" if name in known else None


def profiles(name: str | None, here: Workspace) -> str | None:
    """For `profile` without a job, or with what is no job: env.toml's profiles may be meant."""
    from automodel_launch.profile import profiles as known

    with contextlib.suppress(LaunchError):
        if name is None or name in known.load(here.env_file).names:
            return f"the profiles of env.toml: python launch.py profiles{f' {name}' if name else ''}"
    return None


def word(text: str, words: Sequence[str], recipe: Recipe, env_file: EnvFile, options: Iterable[str]) -> str | None:
    """For a word behind a recipe that is no override."""
    from automodel_launch.commands import registry

    if "=" in words:
        return "no spaces around the `=`: key.sub=value"
    if text in _configs(recipe):
        return f"-c {text}"
    if text.endswith((".yaml", ".yml")):
        return f"-c {text}"
    if text in env_file.names:
        return f"--run {text} (attached), or --batch {text} (detached)"
    if f"--{text}" in options:
        return f"--{text}"
    if text in registry.COMMANDS:
        return f"python launch.py {text} {recipe.name}"
    near = nearest(text, recipe.commands) if text == words[0] else None
    if near:
        return f"python launch.py {shlex.join([recipe.name, near, *words[1:]])}"
    if text in _keys(recipe, None):
        return f"{text}=VALUE"
    key, colon, value = text.partition(":")
    return f"{key}={value.strip()}" if colon and key in _keys(recipe, None) else None


def key(overrides: Iterable[Override], recipe: Recipe, wanted: str | None) -> str | None:
    """For an override that names a key that the config lacks, and the framework or the profile has."""
    from automodel_launch.launch import unknown_keys

    merged = _merged(recipe, wanted)
    known = _known(merged)
    for override in overrides:
        if override.dashed and f"--{override.key}" in _OF_SWEEPS:
            return f"a dry run looks at every point: python launch.py {recipe.name} ... --{override.key} ... --dry-run"
        if override.action != "set" or override.key in known or override.key.partition(".")[0] == "run":
            continue
        if merged is not None and (fix := unknown_keys.adding(recipe, merged, [override])):
            return fix
        like = any(other.endswith(f".{override.key}") for other in known)
        return None if like or "." in override.key else _profile_key(override)
    return None


def _profile_key(override: Override) -> str | None:
    from automodel_launch.profile.schema import WRITTEN_KEYS

    name, value = override.key.replace("-", "_"), override.text.partition("=")[2] or "VALUE"
    if override.dashed and name in _OF_A_PROFILE:
        return f"{_OF_A_PROFILE[name]} {value}"
    return f"a key of the profile: run.env.{name}={value}" if name in WRITTEN_KEYS else None


def config(recipe: Recipe, wanted: str | None) -> str | None:
    """For -c PATH that is no file: its name may be a config of the recipe."""
    if (
        not wanted
        or Path(wanted).expanduser().is_file()
        or ("/" not in wanted and Path(wanted).suffix not in (".yaml", ".yml"))
    ):
        return None
    stem = Path(wanted).stem
    return f"-c {stem}" if stem in _configs(recipe) else None


def _configs(recipe: Recipe) -> list[str]:
    from automodel_launch.config import files

    return files.available(recipe)


def _keys(recipe: Recipe, wanted: str | None) -> list[str]:
    """Every key of the config as it is without overrides, sections too; none where it cannot be read."""
    return _known(_merged(recipe, wanted))


def _known(merged: MergedConfig | None) -> list[str]:
    from automodel_launch.config import dotted

    return [*dotted.all_keys(merged.data), *merged.optional] if merged is not None else []


def _merged(recipe: Recipe, wanted: str | None) -> MergedConfig | None:
    from automodel_launch.config import configs

    try:
        return configs.load(recipe, wanted, [])
    except LaunchError:
        return None
