"""`look`: what would be refused before anything is done, for the launcher's dry run, which cannot import this.

One JSON document on stdout, in the form of data-prep's: `findings` [{level, code, message, fix}]. Nothing is written.
datatrove's own steps are made, and refuse what they would refuse in the job; those of other packages are asked which
arguments they take; those in files of one's own are left to the launcher.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep_lib.errors import DataPrepError, InputError
from data_prep_lib.findings import Finding, finding, of_config, of_error

from curate_lib import inputs, targets, trial
from curate_lib.config import TARGET, Config, Stage, load

_ENGINE = "datatrove"
_FIX = "\n  a directory with files"


def main(path: Path, files: bool) -> int:
    """`files`: the directories are looked at, too; the job's paths mean here what they mean there."""
    print(json.dumps({"findings": list(_look(path, files)), "sources": [], "total": None, "output": None}))
    return 0


def _look(path: Path, files: bool) -> Iterator[Finding]:
    try:
        config = load(path)
    except DataPrepError as e:
        yield of_config("curate", e, files)
        return
    here = importlib.util.find_spec(_ENGINE) is not None
    if not here:
        message = f"the steps were not looked at: {_ENGINE} is not installed here"
        yield finding("note", "curate-not-looked-at", message)
    made: dict[str, Any] = {}
    for stage in config.stages:
        for i in range(len(stage.pipeline)):
            where = f"{stage.where}.pipeline[{i}]"
            try:
                made[where] = _tried(where, stage, i, here)
            except DataPrepError as e:
                yield of_config("curate", e, files)
    yield from _unwritten(config)
    if files:
        yield from _folders(config, made)


def _tried(where: str, stage: Stage, number: int, here: bool) -> Any:
    """The step, where all of it is datatrove's, which is installed: `here`."""
    found = [(key, value) for key, value in targets.targets(stage) if key == where or key.startswith(f"{where}.")]
    own = [(key, value) for key, value in found if targets.file_of(value)]
    for key, value in own:
        targets.unlikely(key, value)
    if own:
        found, here = [one for one in found if one not in own], False
    engines = [str(value[TARGET]).startswith(f"{_ENGINE}.") for _, value in found]
    for (key, value), engine in zip(found, engines, strict=True):
        if here or not engine:
            targets.check(key, value)
        if key == where and not engine:
            targets.unlikely(key, value)
    if not here or not all(engines):
        return None
    step = targets.step(stage, number)
    trial.compression(where, step)
    return step


def _below(config: Config, value: Any) -> bool:
    path = Path(os.path.normpath(str(value)))
    return path == config.output_dir or config.output_dir in path.parents


def _unwritten(config: Config) -> Iterator[Finding]:
    """What no step writes below output_dir is not found there by whoever is promised it."""
    steps = [step for stage in config.stages for step in stage.pipeline]
    if not any(key.startswith("output") and _below(config, value) for step in steps for key, value in step.items()):
        message = f"no step writes below output_dir, {config.output_dir}"
        fix = "{_target_: datatrove.pipeline.writers.JsonlWriter, output_folder: ${output_dir}/text}"
        yield finding("warning", "curate-config", message, fix)


def _folders(config: Config, made: Mapping[str, Any]) -> Iterator[Finding]:
    for stage in config.stages:
        for i, step in enumerate(stage.pipeline):
            folder, where = step.get("data_folder"), f"{stage.where}.pipeline[{i}]"
            if not isinstance(folder, str) or "://" in folder:
                continue
            if _below(config, folder):
                yield from _made_before(config, stage, where, folder)
                continue
            try:
                _check(where, folder, made.get(where))
            except InputError as e:
                yield of_error("curate-input", e)


def _made_before(config: Config, stage: Stage, where: str, folder: str) -> Iterator[Finding]:
    """What lies below output_dir is written by a stage before, or by an earlier job."""
    before = config.stages[: config.stages.index(stage)]
    steps = (step for other in before for step in other.pipeline)
    written = [
        value for step in steps for key, value in step.items() if key.endswith("_folder") and key != "data_folder"
    ]
    own = [value for step in stage.pipeline for key, value in step.items() if key.startswith("output")]
    paths = [os.path.normpath(str(value)) for value in written]
    wanted = os.path.normpath(folder)
    made = any(f"{wanted}/".startswith(f"{path}/") or f"{path}/".startswith(f"{wanted}/") for path in paths)
    if not made and not os.path.isdir(wanted):  # noqa: PTH112 (Path's raises where a directory may not be entered)
        late = " (this one does, but reads first)" if folder in own else ""
        said = f"{where}.data_folder: {folder}: no stage before it writes there{late}{_FIX}, or stages in another order"
        yield of_error("curate-input", InputError(said))


def _check(where: str, folder: str, step: Any) -> None:
    """`step`: where it could be made."""
    what = f"{where}.data_folder: {folder}"
    try:
        with os.scandir(folder) as entries:
            if not next(entries, None):
                raise InputError(f"{what} is empty{_FIX}")
    except (FileNotFoundError, ValueError):  # the latter of a name with a NUL
        raise InputError(f"{what}: no such directory{_FIX}") from None
    except NotADirectoryError:
        if not Path(folder).is_file():  # datatrove reads a file, too
            raise InputError(f"{what}: no such directory{_FIX}") from None
    except OSError as e:
        raise InputError(f"{what} cannot be listed: {e.strerror}{_FIX}") from None
    if step is not None and "://" not in str(getattr(step, "paths_file", "")):
        inputs.check(where, step)
    if inputs.reads(step) and not step.paths_file:
        trial.reader(where, step)
