"""The files of a config: found by name in the recipe's folder or by path, with the chain behind `defaults:`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from automodel_launch.config import yamlio
from automodel_launch.errors import ConfigError
from automodel_launch.suggest import did_you_mean

_DEEPEST, MOST = 20, 200  # configs behind each other in `defaults:`, and all of them


class RecipeConfigs(Protocol):
    """What configs need to know of a recipe."""

    @property
    def name(self) -> str:
        """The recipe's name, for messages."""

    @property
    def config_dir(self) -> Path:
        """The folder with its configs."""

    @property
    def default_config(self) -> str:
        """The config that is used where none is named."""

    @property
    def short(self) -> tuple[tuple[str, str], ...]:
        """(key of a mapping, which of its keys an override stands for that gives it a string)."""

    @property
    def optional(self) -> tuple[str, ...]:
        """Top-level keys that a config may leave out; an override sets them all the same."""


def find(recipe: RecipeConfigs, wanted: str) -> Path:
    """The file of a config.

    Raises:
        ConfigError: there is none.
    """
    if wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        path = _absolute(Path(wanted).expanduser())
        if not path.is_file():
            names = ", ".join(available(recipe)) or "none"
            raise ConfigError(f"{path}: {_no_file(path)}.", f"a .yaml file, or a name: {names}")
        return path
    path = recipe.config_dir / f"{wanted}.yaml"
    if not path.is_file():
        known = available(recipe)
        beside = next((name for name in (f"{wanted}.yaml", f"{wanted}.yml") if wanted and Path(name).is_file()), None)
        if beside:
            raise ConfigError(f"no config '{wanted}' in {recipe.config_dir}.", f"-c {beside}, which is in this folder")
        raise ConfigError(
            f"no config '{wanted}' in {recipe.config_dir}.{did_you_mean(wanted, known)}",
            f"configs of {recipe.name}: {', '.join(known) or 'none'}; or give the path of a .yaml file",
        )
    return path


def _no_file(path: Path) -> str:
    try:
        path.stat()
        return "is a directory" if path.is_dir() else "is not a file"
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else "no such config file"
    except (OSError, ValueError) as error:
        loop = isinstance(error, OSError) and error.errno == errno.ELOOP
        return "is a link that leads back to itself" if loop else f"cannot be read: {error}"


def available(recipe: RecipeConfigs) -> list[str]:
    """Names that -c takes for this recipe."""
    return _names(recipe.config_dir)


def chain(path: Path, folder: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[yamlio.Document, Path]]:
    """The documents of a config, weakest first: each entry of `defaults:`, then the config itself.

    An entry is a file beside the one that names it, or one in `folder`, the recipe's.

    Raises:
        ConfigError: not YAML, a circle of defaults, or an entry that is not there.
    """
    if path in above:
        circle = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{above[-1]}: defaults: run in a circle: {circle}")
    if len(above) > _DEEPEST:
        raise ConfigError(f"{above[-1]}: defaults: more than {_DEEPEST} configs, one inside the other.")
    document = yamlio.read(path)
    defaults = document.data.pop("defaults", [])
    where = f"{path}:{document.lines.get('defaults')}"
    if not isinstance(defaults, list) or not all(isinstance(entry, str) for entry in defaults):
        raise ConfigError(f"{where}: defaults: is a list of config names or paths, not {defaults!r}.")
    for entry in defaults:
        if entry != "_self_":  # Hydra's word for this file; it always comes last here
            yield from chain(_default(entry, path, folder, where), folder, (*above, path))
    yield document, path


def _default(entry: str, path: Path, folder: Path, where: str) -> Path:
    name = entry if entry.endswith((".yaml", ".yml")) else f"{entry}.yaml"
    candidates = list(dict.fromkeys(_absolute(base / name) for base in (path.parent, folder)))
    found = [candidate for candidate in candidates if candidate.is_file()]
    if not found:
        names = sorted({*_names(path.parent), *_names(folder)})
        raise ConfigError(
            f"{where}: defaults names '{entry}', and there is no {' and no '.join(map(str, candidates))}."
            f"{did_you_mean(entry, names)}"
        )
    # A config of the shipped one's name, outside its folder, means the shipped one and not itself.
    return next((candidate for candidate in found if candidate != path), path)


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _absolute(path: Path) -> Path:
    """Without `..`, with links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100
