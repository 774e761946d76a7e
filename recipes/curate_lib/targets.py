"""`_target_` -> the class, made with its arguments; what it does not take is told before anything is made."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep_lib import schema
from data_prep_lib.errors import ConfigError

from curate_lib.config import TARGET, Stage


def made(stage: Stage) -> list[Any]:
    """The stage's steps.

    Raises:
        ConfigError: a class that is not there, arguments that it does not take, or its own refusal.
    """
    for where, value in targets(stage):
        check(where, value)
    return [make(f"{stage.where}.pipeline[{i}]", step) for i, step in enumerate(stage.pipeline)]


def targets(stage: Stage) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, those in arguments too, with its key."""
    yield from _below(f"{stage.where}.pipeline", list(stage.pipeline))


def _below(where: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if TARGET in value:
            yield where, value
        for key, item in value.items():
            yield from _below(f"{where}.{key}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _below(f"{where}[{i}]", item)


def file_of(value: Mapping[str, Any]) -> Path | None:
    """The file of one's own that a target is in."""
    file, colon, _ = str(value[TARGET]).rpartition(":")
    return schema.path(TARGET, file) if colon else None


def check(where: str, value: Mapping[str, Any]) -> None:
    """Raises ConfigError where the class would not take these names of arguments, or is not there."""
    named = _found(where, value)
    arguments = {key: item for key, item in value.items() if key != TARGET}
    try:
        signature = inspect.signature(named)
    except ValueError:  # a class that tells none
        return
    for bind in (signature.bind_partial, signature.bind):  # what is too much, then what is missing: it may be one typo
        try:
            bind(**arguments)
        except TypeError as e:
            unknown = next((key for key in arguments if repr(key) in str(e)), "")
            near = schema.nearest(unknown, set(signature.parameters) - set(arguments)) if unknown else ""
            message = f"{where}: {value[TARGET]}: {e}{near}"
            raise ConfigError(f"{message}\n  it takes: {', '.join(signature.parameters) or 'nothing'}") from None


def _found(where: str, value: Mapping[str, Any]) -> Callable[..., Any]:
    target = str(value[TARGET])
    file = file_of(value)
    module, _, name = target.rpartition(":" if file else ".")
    try:
        found = getattr(_imported(file) if file else importlib.import_module(module), name)
    except ImportError as e:
        if not file and e.name and module.startswith(e.name.partition(".")[0]) and "." not in e.name:
            raise ConfigError(f"{where}: {target}: {e.name} is not installed\n  pip install {e.name}") from None
        raise ConfigError(f"{where}: {target}: {e}") from None
    except AttributeError:
        near = schema.nearest(name, vars(sys.modules[module])) if module in sys.modules else ""
        raise ConfigError(f"{where}: {target}: {module} has no {name}{near}") from None
    except (OSError, ValueError, SyntaxError) as e:
        raise ConfigError(f"{where}: {target}: {e}") from None
    if not callable(found):
        raise ConfigError(f"{where}: {target} is no class")
    return found  # type: ignore[no-any-return]  # callable, as was asked


def _imported(file: Path) -> Any:
    """As a module of its name: workers, which unpickle the steps, have to find it by that name, too."""
    if not file.is_file():
        raise OSError(f"{file} is not there")
    if not file.stem.isidentifier() or file.suffix != ".py":
        raise ValueError(f"{file.name} is no name of a Python module")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    module = importlib.import_module(file.stem)
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise ValueError(f"{file.stem} is {module.__file__} already: give the file another name")
    return module


def make(where: str, value: Any) -> Any:
    """The value with an object in the place of each `_target_`.

    Raises:
        ConfigError: a class refuses its arguments.
    """
    if isinstance(value, list):
        return [make(f"{where}[{i}]", item) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    arguments = {key: make(f"{where}.{key}", item) for key, item in value.items() if key != TARGET}
    if TARGET not in value:
        return arguments
    try:
        return _found(where, value)(**arguments)
    except ConfigError:
        raise
    except Exception as e:  # whatever a class says of its arguments
        raise ConfigError(f"{where}: {value[TARGET]}: {e}") from None
