"""env.toml -> Profile: tables with inheritance and a closed schema; each value knows where it came from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automodel_launch.errors import ProfileError
from automodel_launch.profile import references
from automodel_launch.profile.keys import BUILT_IN, EXECUTORS, SECTION_NAMES, SYNONYMS
from automodel_launch.suggest import did_you_mean, nearest

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Layer:
    """Some profile keys and where they are written; later layers win over earlier ones."""

    source: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class EnvFile:
    """env.toml as read: profile tables, and the sections that are not profiles."""

    path: Path
    profiles: dict[str, dict[str, Any]]
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: tuple[str, ...] = ()  # what is written [[NAME]]

    @property
    def names(self) -> list[str]:
        """Names that --run and --batch take."""
        return sorted({**BUILT_IN, **self.profiles})

    @property
    def usable(self) -> list[str]:
        """Those of them whose executor this launcher has."""
        found = []
        for name in self.names:
            with contextlib.suppress(ProfileError):  # another profile's fault is told when that one is wanted
                found += [] if _other(self.executor(name)) else [name]
        return found

    def executor(self, name: str) -> Any:
        """The executor of a profile, its own or inherited, as it is written."""
        return merge(self.layers(name))[0].get("executor", "local")

    @property
    def theme(self) -> str:
        """[cli] theme."""
        return str(self.sections.get("cli", {}).get("theme", "dark"))

    def layers(self, name: str) -> list[Layer]:
        """The profile's tables, parents first.

        Raises:
            ProfileError: no such profile, a section that is not a profile, or a circle of `extends`.
        """
        return [
            Layer(f"{self.path.name} [{part}]", {k: v for k, v in self._table(part, [name]).items() if k != "extends"})
            for part in reversed(self.chain(name))
        ]

    def chain(self, name: str) -> list[str]:
        """The profile's name, its parent's, and so on.

        Raises:
            ProfileError: see layers.
        """
        seen: list[str] = []
        wanted: str | None = name
        while wanted is not None:
            if wanted in seen:
                raise ProfileError(
                    f"{self.path} [{seen[-1]}]: extends runs in a circle: {' -> '.join([*seen, wanted])}"
                )
            table = self._table(wanted, seen)
            seen.append(wanted)
            parent = table.get("extends")
            if parent is not None and not isinstance(parent, str):
                raise ProfileError(
                    f"{self.path} [{seen[-1]}]: extends = {parent!r} is not the name of one profile.",
                    'extends = "NAME"; a profile has one parent, which may have one of its own',
                )
            wanted = parent
        return seen

    def _table(self, name: str, seen: list[str]) -> dict[str, Any]:
        if name in self.profiles:
            return self.profiles[name]
        if name in BUILT_IN:
            return dict(BUILT_IN[name])
        if seen:
            raise ProfileError(
                f"{self.path} [{seen[-1]}]: extends = {name!r} is not a profile.{did_you_mean(name, self.names)}",
                f"profiles: {', '.join(self.names)}",
            )
        if name in self.sections:
            raise ProfileError(f"{self.path} [{name}] is a section of settings, not a profile.", self._choices())
        if shape := _other_shape(name, self.profiles, self.lists):
            raise ProfileError(f"{self.path}: {shape[0]}", shape[1])
        missing = "" if self.path.is_file() else f" {self.path} does not exist, so there is only the built-in one."
        raise ProfileError(
            f"no profile '{name}' in {self.path}.{missing}{did_you_mean(name, self.names)}", self._choices()
        )

    def _choices(self) -> str:
        return f"profiles: {', '.join(self.names)} (`python launch.py profiles` shows them)"


def load(path: Path, wanted: str | None = None) -> EnvFile:
    """Read env.toml; a file that is not there has only the built-in profile `local`.

    With a `wanted` profile, that one, its parents and the sections are checked; it is searched first: a wrong name is
    answered without loading pydantic. Without, every profile but those for executors that this launcher has not.

    Raises:
        ProfileError: not TOML (file and line), an unknown key or a wrong type (file, table, key, nearest key), or a
            wanted profile is for an executor that this launcher has not.
    """
    import tomli

    try:
        document = tomli.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        document = {}
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {error}") from error
    except tomli.TOMLDecodeError as error:
        raise ProfileError(f"{path}: not TOML: {error}") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits
        raise ProfileError(f"{path}: not TOML that can be read: {toml_limit(error)}.") from error
    tables = {name: table for name, table in document.items() if isinstance(table, dict)}
    profiles = {name: table for name, table in tables.items() if name not in SECTION_NAMES}
    lists = tuple(name for name, value in document.items() if isinstance(value, list) and _has_table(value))
    env_file = EnvFile(path, profiles, {name: {} for name in SECTION_NAMES}, lists)
    if wanted is not None:
        env_file.chain(wanted)
    return _checked(env_file, document, wanted)


def toml_limit(error: Exception) -> str:
    """What is beyond TOML's readers, where their own error is not one of TOML."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _has_table(value: list[Any]) -> bool:
    return any(isinstance(entry, dict) for entry in value)


def _other_shape(name: str, profiles: Mapping[str, Any], lists: Iterable[str]) -> tuple[str, str] | None:
    """What is wrong, and what is right, where TOML has the name in another way than a profile's."""
    if name in lists:
        return f"[[{name}]] is a list of tables, and a profile is one.", f"[{name}]"
    outer, dot, inner = name.partition(".")
    if dot and isinstance(profiles.get(outer), dict) and isinstance(profiles[outer].get(inner.partition(".")[0]), dict):
        return f"[{name}] is a table inside [{outer}] to TOML, and not a profile.", f'["{name}"], or [{outer}-{inner}]'
    return None


def _checked(env_file: EnvFile, document: dict[str, Any], wanted: str | None) -> EnvFile:
    from automodel_launch.profile import validation

    path, profiles = env_file.path, env_file.profiles
    stray = [key for key, value in document.items() if not isinstance(value, dict)]
    if stray and stray[0] in env_file.lists:
        raise ProfileError(f"{path}: [[{stray[0]}]] is a list of tables, and a profile is one.", f"[{stray[0]}]")
    if stray:
        raise ProfileError(f"{path}: the key '{stray[0]}' is outside of any table.", "put it below a line [NAME]")
    parents = {other.get("extends") for other in document.values() if isinstance(other.get("extends"), str)}
    used = _used(env_file, wanted)
    sections = {}
    for name, table in document.items():
        if name in SECTION_NAMES:
            sections[name] = validation.check_section(name, table, f"{path} [{name}]")
            continue
        near = nearest(name, SECTION_NAMES)
        if (near or name in used) and name not in {*BUILT_IN, *parents} and not {"extends", "executor"} & table.keys():
            raise _no_profile(path, name, table)
        if name in used:
            _check_name(path, name)
            hidden = {"executor"} if _other(table.get("executor")) else set()  # a child of it has another one
            shown = {key: value for key, value in table.items() if key not in hidden}
            validation.check_table(shown, f"{path} [{name}]")
    return EnvFile(path, profiles, sections)


def _used(env_file: EnvFile, wanted: str | None) -> set[str]:
    """The tables that are checked: all that a profile of this launcher's executors consists of.

    Raises:
        ProfileError: the wanted profile is for another executor.
    """
    names = list(env_file.profiles) if wanted is None else [wanted]
    used: set[str] = set()
    for name in names:
        executor = env_file.executor(name)
        if not _other(executor):
            used.update(env_file.chain(name))
        elif wanted is not None or nearest(executor, EXECUTORS):
            raise _no_executor(env_file, name, executor)
    return used


def _other(executor: object) -> bool:
    """An executor that this launcher has not."""
    return isinstance(executor, str) and executor not in EXECUTORS and not references.has(executor)


def _no_executor(env_file: EnvFile, name: str, executor: str) -> ProfileError:
    others = ", ".join(env_file.usable)
    return ProfileError(
        f"{env_file.path} [{name}]: executor = {executor!r}: this launcher has {', '.join(EXECUTORS)}, and no other."
        f"{did_you_mean(executor, EXECUTORS)}",
        f"profiles with one of them: {others}",
    )


def _check_name(path: Path, name: str) -> None:
    """NeMo-Run's files of a profile lie in a folder of its name."""
    if name in (".", "..") or "/" in name or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise ProfileError(
            f"{path} [{name!r}]: a profile's name is a folder's, too: no '/', no '..', no control characters, and"
            f" {_LONGEST_NAME} bytes at most."
        )


def _no_profile(path: Path, name: str, table: Mapping[str, Any]) -> ProfileError:
    keys = f" (it has {', '.join(table)})" if table else ""
    inner = next((key for key, value in table.items() if isinstance(value, Mapping)), None)
    if inner is not None and len(table) == 1:
        right = f'["{name}.{inner}"], or [{name}-{inner}]'
        return ProfileError(f"{path}: [{name}.{inner}] is a table inside [{name}] to TOML, and not a profile.", right)
    return ProfileError(
        f"{path} [{name}] has neither `executor` nor `extends`{keys}, so it is not a profile, and it is not a known"
        f" section.{did_you_mean(name, SECTION_NAMES)}",
        f'add executor = "local" | "slurm" | "docker"; sections: {", ".join(SECTION_NAMES)}',
    )


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """One table out of layers, weakest first, and the source of each key (`env_vars.NAME` for each variable)."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for written, value in layer.values.items():
            key = SYNONYMS.get(written, written)
            if isinstance(value, Mapping):
                below = values.get(key)
                values[key] = {**(below if isinstance(below, Mapping) else {}), **value}
                sources.pop(key, None)
                sources.update({f"{key}.{name}": layer.source for name in value})
            else:
                values[key] = value
                for hidden in [old for old in sources if old.startswith(f"{key}.")]:
                    del sources[hidden]
                sources[key] = layer.source
    return values, sources
