"""A pipeline's file: steps, what each needs, and what it takes from others as `${steps.NAME.FIELD}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automodel_launch.config import swept_steps, yamlio
from automodel_launch.config.overrides import Override, parse
from automodel_launch.config.swept_steps import BEST, Swept
from automodel_launch.errors import ConfigError, UsageError
from automodel_launch.suggest import did_you_mean

REFERENCE = re.compile(r"\$\{\s*steps\.([^}.]+)\.([^}]+?)\s*\}")
_ANY = re.compile(r"\$\{\s*steps\b[^}]*\}?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_TOP = ("steps",)
_KEYS = ("recipe", "config", "profile", "name", "needs", "overrides", "sweep")


@dataclass(frozen=True)
class StepSpec:
    """A step as it is written. `needs` has those of its references, too; `where` is its place in the file.

    `any_of`: sweeps among them of which one point that has completed will do.
    """

    name: str
    where: str
    recipe: str
    config: str | None = None
    profile: str | None = None
    run_name: str | None = None
    needs: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    lines: Mapping[str, str] = field(default_factory=dict)  # key of an override -> where it is written
    any_of: tuple[str, ...] = ()
    sweep: Swept | None = None


def find(folder: Path, wanted: str) -> Path:
    """The file of a pipeline: a path, or a name in configs/pipeline/.

    Raises:
        ConfigError: there is none.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        path = Path(wanted).expanduser().absolute()
    else:
        path = folder / f"{wanted}.yaml"
    if path.is_file():
        return path
    what = "is a directory" if path.is_dir() else "no such file of a pipeline"
    guess = did_you_mean(wanted, names) if path.parent == folder else ""
    raise ConfigError(f"{path}: {what}.{guess}", f"the path of a .yaml file, or a name: {', '.join(names) or 'none'}")


def read(path: Path, more: Iterable[str] = ()) -> list[StepSpec]:
    """The steps, each behind those that it needs; `more` are overrides of the command line, STEP.key=value.

    Raises:
        ConfigError: it is no pipeline, with file, line and step.
        UsageError: an override names no step.
    """
    document = yamlio.read(path)
    _closed(document.data, _TOP, str(path), "a pipeline")
    steps = document.data.get("steps")
    if not isinstance(steps, dict) or not steps:
        raise ConfigError(f"{path}: steps: a mapping with at least one step: NAME: {{recipe: ...}}.")
    found = {str(name): _step(str(name), raw, document, path) for name, raw in steps.items()}
    for text in more:
        _add(found, text)
    for step in found.values():
        _check_needs(step, found)
    return _in_order(list(found.values()))


def _step(name: str, raw: Any, document: yamlio.Document, path: Path) -> StepSpec:
    where = f"{path.name}:{document.lines.get(f'steps.{name}', '?')}: step {name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: a step's name begins with a letter and has letters, digits, '-' and '_', 40 at most."
        )
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: a mapping with the key recipe, not {raw!r}.")
    _closed(raw, _KEYS, where, "a step")
    texts = {key: raw.get(key) for key in ("recipe", "config", "profile", "name")}
    for key, value in texts.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise ConfigError(f"{where}: {key}: a string, not {value!r}.")
    if texts["recipe"] is None:
        raise ConfigError(f"{where}: recipe is missing.", "recipe: pretrain; `python launch.py recipes` lists them")
    overrides, lines = _overrides(raw.get("overrides"), where, document, f"{path.name}", f"steps.{name}.overrides")
    needs, any_of = swept_steps.needs(raw.get("needs"), where)
    config = texts["config"]
    if config is not None and ("/" in config or config.endswith((".yaml", ".yml"))):
        config = str(path.parent / Path(config).expanduser())
    step = StepSpec(name, where, str(texts["recipe"]), config, texts["profile"], texts["name"], (), overrides, lines)
    sweep = swept_steps.read(raw["sweep"], where) if "sweep" in raw else None
    step = replace(step, any_of=tuple(any_of), sweep=sweep)
    return replace(step, needs=tuple(dict.fromkeys([*needs, *_referred(step)])))


def _overrides(
    raw: Any, where: str, document: yamlio.Document, file: str, at: str
) -> tuple[tuple[Override, ...], dict[str, str]]:
    """A mapping of dotted keys, or a list of them as on the command line."""
    if raw is None:
        return (), {}
    if isinstance(raw, list) and all(isinstance(one, str) for one in raw):
        made = [_parsed(one, where) for one in raw]
    elif isinstance(raw, dict):
        made = [_override(str(key), value, where) for key, value in raw.items()]
    else:
        raise ConfigError(f"{where}: overrides: a mapping `key.sub: value`, or a list of `key.sub=value`, not {raw!r}.")
    return tuple(made), {one.key: f"{file}:{document.lines.get(f'{at}.{one.key}', '?')}" for one in made}


def _parsed(text: str, where: str) -> Override:
    try:
        return parse(text)
    except (ConfigError, UsageError) as error:
        raise ConfigError(f"{where}: {error.message}", error.hint) from error


def _override(key: str, value: Any, where: str) -> Override:
    bare = key.lstrip("+~")
    try:
        parse(f"~{bare}")
    except UsageError as error:
        raise ConfigError(f"{where}: overrides: {key!r} is not a key.", error.hint) from error
    if key.startswith("~"):
        return Override("remove", bare, None, key)
    return Override("add" if key.startswith("+") else "set", bare, value, f"{key}={value}")


def _add(found: dict[str, StepSpec], text: str) -> None:
    mark = text[:1] if text[:1] in "+~" and text else ""
    name, dot, rest = text[len(mark) :].partition(".")
    step = found.get(name)
    if step is None or not dot:
        guess = did_you_mean(name, list(found))
        said = f"there is no step '{name}'.{guess}" if step is None else "which key of that step is to be set?"
        raise UsageError(f"'{text}': {said}", f"STEP.key=value, with {', '.join(found)}")
    made = parse(f"{mark}{rest}")
    kept = tuple(one for one in step.overrides if one.key != made.key)
    lines = {**step.lines, made.key: f"override {text}"}
    step = replace(step, overrides=(*kept, made), lines=lines)
    found[name] = replace(step, needs=tuple(dict.fromkeys([*step.needs, *_referred(step)])))


def _check_needs(step: StepSpec, found: Mapping[str, StepSpec]) -> None:
    for name in step.needs:
        if name not in found:
            guess = did_you_mean(name, [other for other in found if other != step.name])
            raise ConfigError(f"{step.where}: there is no step '{name}'.{guess}", f"steps: {', '.join(found)}")
    for name in step.any_of:
        if found[name].sweep is None:
            message = f"{step.where}: needs: {name}: any: step {name} is no sweep, so it has no points."
            raise ConfigError(message, f"needs: {name}")
    for point in step.sweep.points if step.sweep else ():
        twice = next((one.key for one in step.overrides if one.key in point.settings), None)
        if twice:
            message = f"{step.where}: '{twice}' is swept, and set for all points as well."
            raise ConfigError(message, "leave one of the two out")


def _in_order(steps: list[StepSpec]) -> list[StepSpec]:
    done: list[StepSpec] = []
    names: set[str] = set()
    while len(done) < len(steps):
        ready = [step for step in steps if step.name not in names and set(step.needs) <= names]
        if not ready:
            left = [step for step in steps if step.name not in names]
            circle = " -> ".join(_circle({step.name: step.needs for step in left}))
            raise ConfigError(
                f"{left[0].where}: the steps need one another in a circle: {circle}.", "take one `needs` out"
            )
        done.append(ready[0])  # one at a time: the file's order where that will do
        names.add(ready[0].name)
    return done


def _circle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    path = [next(iter(needs))]
    while path[-1] not in path[:-1]:
        path.append(next(name for name in needs[path[-1]] if name in needs))
    return path[path.index(path[-1]) :]


def points(step: StepSpec) -> list[StepSpec]:
    """The step of each point of a sweep, with what that sets behind the step's own overrides; else the step itself."""
    if step.sweep is None:
        return [step]
    each = [tuple(parse(text) for text in point.settings.values()) for point in step.sweep.points]
    return [replace(step, overrides=(*step.overrides, *settings), sweep=None) for settings in each]


def _referred(step: StepSpec) -> Iterator[str]:
    for override in (override for point in points(step) for override in point.overrides):
        for text in texts(override.value):
            odd = next((found for found in _ANY.findall(text) if not REFERENCE.fullmatch(found)), None)
            if odd:
                message = f"{step.where}: {override.key}: {odd!r} is no reference to a step."
                raise ConfigError(message, "${steps.NAME.FIELD}, such as ${steps.data.path}")
            yield from (name for name, _ in REFERENCE.findall(text))


def texts(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    for entry in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from texts(entry)


def filled(step: StepSpec, promises: Mapping[str, Mapping[str, str]]) -> list[Override]:
    """The step's overrides with what the steps before it promise.

    Raises:
        ConfigError: a step does not promise that.
    """
    done = []
    for override in step.overrides:

        def value(match: re.Match[str], key: str = override.key) -> str:
            name, wanted = match.groups()
            known = promises[name]
            if wanted not in known:
                guess, fix = did_you_mean(wanted, list(known)), f"it promises {', '.join(known)}"
                if not guess and wanted.startswith(f"{BEST}.") and any(one.startswith(f"{BEST}.") for one in known):
                    guess = " Of the best point a path can be taken, and no value: a job's config is complete when"
                    guess, fix = f"{guess} it is submitted.", f"{fix}; else look at `compare`, and set the value"
                raise ConfigError(f"{step.where}: {key}: step {name} promises no '{wanted}'.{guess}", fix)
            return known[wanted]

        new = _with(override.value, value)
        text = override.text if new == override.value else f"{override.key}={new}"
        done.append(replace(override, value=new, text=text))
    return done


def _with(value: Any, how: Any) -> Any:
    if isinstance(value, str):
        return REFERENCE.sub(how, value)
    if isinstance(value, Mapping):
        return {key: _with(entry, how) for key, entry in value.items()}
    return [_with(entry, how) for entry in value] if isinstance(value, list) else value


def _closed(given: Mapping[str, Any], known: Sequence[str], where: str, what: str) -> None:
    for key in given:
        if key not in known:
            guess = did_you_mean(str(key), list(known))
            raise ConfigError(f"{where}: {key!r} is no key of {what}.{guess}", f"{what} takes {', '.join(known)}")
