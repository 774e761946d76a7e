"""What an output_dir was begun with (.curate/begun.json), and what came of it (record.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from data_prep_lib.errors import RefusedError
from data_prep_lib.hashes import fingerprint
from data_prep_lib.safe_files import read_json, write_json

from curate_lib import targets
from curate_lib.config import Config

ENGINE = "datatrove"
# of datatrove 0.10.1: "TIME | WARNING  | datatrove.pipeline.readers.jsonl:read_file:90 - Error when reading `a`: ..."
_LEFT_OUT = re.compile(
    r"\| WARNING +\| datatrove\.pipeline\.readers\.\S+ - ((?:Error when reading|File `|Found document without).*)"
)


def begun_with(config: Config, inputs: Mapping[str, str]) -> dict[str, Any]:
    """All that determines the output: stages, files of one's own, datatrove's version, the input."""
    files = {str(file) for stage in config.stages for _, value in targets.targets(stage) if (file := _own(value))}
    return {
        **{f"stage {stage.name}": json.loads(json.dumps([stage.tasks, *stage.pipeline])) for stage in config.stages},
        "stages": [stage.name for stage in config.stages],
        **{f"file {Path(file).name}": fingerprint([Path(file).read_text(encoding="utf-8")]) for file in files},
        ENGINE: metadata.version(ENGINE),
        **{f"the input of {where}": value for where, value in inputs.items()},
    }


def _own(value: Mapping[str, Any]) -> Path | None:
    return targets.file_of(value)


def begin(config: Config, now: dict[str, Any]) -> None:
    """Write down what the output is begun with, or compare.

    Raises:
        RefusedError: it was begun with something else, or nobody knows with what, and its finished tasks would be mixed
            with others.
    """
    path = config.state / "begun.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_json(path)
    if not isinstance(before, dict):
        finished = any(any((config.logs(stage) / "completions").glob("*")) for stage in config.stages)
        if path.exists() or finished:
            message = (
                f"output_dir: {path} {'cannot be read' if path.exists() else 'is gone'}, so with what was it begun?"
            )
            raise RefusedError(f"{message}\n  output_dir=ANOTHER, or remove it, finished tasks and all")
        write_json(path, now)
        return
    other = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    if other:
        message = f"output_dir: {config.output_dir} was begun with other values of: {', '.join(other)}"
        raise RefusedError(f"{message}\n  output_dir=ANOTHER, or remove it, finished tasks and all")


def finish(config: Config) -> list[dict[str, Any]]:
    """Write record.json: of each stage its steps, with the documents that went in, on and out; and those rows."""
    rows = [
        {
            "stage": stage.name,
            "steps": _steps(config.logs(stage) / "stats"),
            "left_out": left_out(config.logs(stage)),
        }
        for stage in config.stages
    ]
    write_json(config.output_dir / "record.json", {"engine": ENGINE, "stages": rows})
    return rows


def left_out(folder: Path) -> dict[str, Any] | None:
    """What the readers could not read: {count, first}. datatrove passes over lines that are no JSON, documents without
    text (told once a task) and the rest of a file that is not UTF-8, and says so nowhere but in its tasks' logs."""
    found = []
    for path in sorted(folder.glob("logs/task_*.log")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            found += [match[1].strip() for line in lines if (match := _LEFT_OUT.search(line))]
    return {"count": len(found), "first": found[0]} if found else None


def _steps(folder: Path) -> list[dict[str, Any]]:
    total: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            _add(total, json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError):  # datatrove writes it in place
            done = path.parents[1] / "completions" / path.stem
            raise RefusedError(
                f"{path} is damaged, and with it what came of task {path.stem}\n  remove it and {done}: the same"
                " command then makes that task again"
            ) from None
    return total


def _add(total: list[dict[str, Any]], steps: list[dict[str, Any]]) -> None:
    for number, step in enumerate(steps):
        if number == len(total):
            total.append({"name": step["name"], "counts": {}})
        counts = total[number]["counts"]
        for key, value in step["stats"].items():
            amount = value["total"] if isinstance(value, dict) else value
            counts[key] = counts.get(key, 0) + amount
