"""`_target_` -> the class, made with its arguments; what it does not take is told before anything is made."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep_lib import schema
from data_prep_lib.errors import ConfigError

from curate_lib.config import TARGET, Stage

_NO_STEP = "makes nothing that datatrove can call\n  a class on datatrove.pipeline.filters.base_filter.BaseFilter"
_NO_MODULE = "is no name of a Python module: letters, digits and _"
_READER = "{_target_: datatrove.pipeline.readers.JsonlReader, data_folder: DIR}"


def made(stage: Stage) -> list[Any]:
    """The stage's steps.

    Raises:
        ConfigError: a class that is not there, arguments that it does not take, or its own refusal.
    """
    for where, value in targets(stage):
        check(where, value)
    return [step(stage, i) for i in range(len(stage.pipeline))]


def step(stage: Stage, number: int) -> Any:
    """One of a stage's steps, made.

    Raises:
        ConfigError: a class refuses its arguments, or what it makes is nothing that datatrove takes as a step there.
    """
    where, value = f"{stage.where}.pipeline[{number}]", stage.pipeline[number]
    found = make(where, value)
    if not callable(found) and (isinstance(found, str) or not isinstance(found, Sequence)):
        raise ConfigError(f"{where}: {value[TARGET]} {_NO_STEP}")
    run = getattr(found, "run", None) if number == 0 else None
    data = inspect.signature(run).parameters.get("data") if callable(run) else None
    if data is not None and data.default is inspect.Parameter.empty:
        message = f"{where}: {value[TARGET]} is given no documents: it is a stage's first step, and no reader"
        raise ConfigError(f"{message}\n  a reader before it: {_READER}")
    return found


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


def unlikely(where: str, value: Mapping[str, Any]) -> None:
    """Of a step that is not made here, as its package may do anything: what can be told without.

    Raises:
        ConfigError: a file whose name cannot be a module's, or a class of which datatrove could not call anything.
    """
    if file := file_of(value):
        if not file.stem.isidentifier():
            raise ConfigError(f"{where}: {value[TARGET]}: {file.name} {_NO_MODULE}")
        if file.stem in sys.modules:
            taken = getattr(sys.modules[file.stem], "__file__", None) or "one of Python's own"
            raise ConfigError(f"{where}: {value[TARGET]}: {file.stem} is {taken} already\n  give the file another name")
        return
    named = _found(where, value)
    is_called = isinstance(named, type) and any("__call__" in vars(one) for one in named.__mro__)
    if isinstance(named, type) and not is_called and not issubclass(named, Sequence):
        raise ConfigError(f"{where}: {value[TARGET]} {_NO_STEP}")


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
    if not module:
        raise ConfigError(f"{where}: {target} names no module\n  MODULE.CLASS or FILE.py:CLASS")
    try:
        found = getattr(_imported(file) if file else importlib.import_module(module), name)
    except ImportError as e:
        if not file and e.name and module.startswith(e.name.partition(".")[0]) and "." not in e.name:
            raise ConfigError(f"{where}: {target}: {e.name} is not installed\n  pip install {e.name}") from None
        raise ConfigError(f"{where}: {target}: {e}{'' if file else _near(e.name or module)}") from None
    except AttributeError:
        near = schema.nearest(name, vars(sys.modules[module])) if module in sys.modules else ""
        raise ConfigError(f"{where}: {target}: {module} has no {name}{near}") from None
    except (OSError, ValueError, SyntaxError) as e:
        raise ConfigError(f"{where}: {target}: {e}") from None
    if not callable(found):
        raise ConfigError(f"{where}: {target} is no class")
    return found  # type: ignore[no-any-return]  # callable, as was asked


def _near(module: str) -> str:
    """`; did you mean ...?`, of a module that is not there, by those beside it."""
    package, _, name = module.rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", None)
    return schema.nearest(name, [one.name for one in pkgutil.iter_modules(folders)]) if folders else ""


def _imported(file: Path) -> Any:
    """As a module of its name: workers, which unpickle the steps, have to find it by that name, too."""
    if not file.is_file():
        raise OSError(f"{file} is not there")
    if not file.stem.isidentifier() or file.suffix != ".py":
        raise ValueError(f"{file.name} {_NO_MODULE}")
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
