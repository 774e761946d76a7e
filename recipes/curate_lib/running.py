"""The stages in order: this node's share of each one's tasks, then a wait for the other nodes'."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep_lib import nodes
from data_prep_lib.errors import DataPrepError, InputError, RefusedError
from data_prep_lib.nodes import Node
from data_prep_lib.safe_files import disk_error, read_json

from curate_lib import inputs, record, targets
from curate_lib.config import Config, Stage

_LOOK_S = 2.0
_SAY_S = 60.0


def run(config: Config, node: Node) -> Path:
    """Do what is left of it, and say what came of it.

    Raises:
        DataPrepError: what is wrong with the configuration or the input, or which stage failed.
    """
    try:
        import datatrove  # noqa: F401
    except ImportError:
        raise RefusedError(f"datatrove is not installed in {sys.executable}\n  pip install datatrove") from None
    try:
        made = [(stage, targets.made(stage)) for stage in config.stages]
        now = record.begun_with(config, inputs.identity(config, made))
        with nodes.locked(config.state, node, _say, lambda: None):
            if node.rank == 0:
                record.begin(config, now)
            else:
                _agree(config, now)
            for stage, steps in made:
                _stage(config, stage, steps, node)
            if node.rank == 0:
                _tell(config, record.finish(config))
    except OSError as e:
        raise disk_error(e, config.output_dir) from None
    return config.output_dir


def _agree(config: Config, now: dict[str, Any]) -> None:
    """The first node writes down what it begins with; one that sees other input than it ends here."""
    path = config.state / "begun.json"
    last = time.monotonic() + 90.0  # what NFS shows late it shows within a minute
    while read_json(path) != now:
        if time.monotonic() > last:
            raise InputError(f"output_dir: {path} is not what this node sees\n  do all nodes see the same input?")
        time.sleep(_LOOK_S)


def _stage(config: Config, stage: Stage, steps: Sequence[Any], node: Node) -> None:
    from datatrove.executor import LocalPipelineExecutor

    first, last = (stage.tasks * rank // node.world for rank in (node.rank, node.rank + 1))
    executor = LocalPipelineExecutor(
        pipeline=list(steps),
        tasks=stage.tasks,
        workers=max(1, min(config.workers, last - first)),
        logging_dir=str(config.logs(stage)),
        local_tasks=last - first,
        local_rank_offset=first,
    )
    if first < last:
        _say(f"stage {stage.name}: tasks {first} to {last - 1} of {stage.tasks}")
        try:
            executor.run()
        except (DataPrepError, OSError):
            raise
        except Exception as e:  # whatever a step raises
            kept = f"the tasks' logs are in {config.logs(stage)}; finished tasks are kept"
            message = f"stage {stage.name}: {type(e).__name__}: {e}\n  {kept}"
            raise DataPrepError(message) from e
    _others(executor, stage)


def _others(executor: Any, stage: Stage) -> None:
    said = time.monotonic()
    while left := executor.get_incomplete_ranks(skip_completed=True):
        if time.monotonic() - said > _SAY_S:
            said = time.monotonic()
            _say(f"stage {stage.name}: {len(left)} tasks of other nodes are left")
        time.sleep(_LOOK_S)


def _tell(config: Config, rows: list[dict[str, Any]]) -> None:
    """Each stage's documents, step by step.

    Raises:
        InputError: nothing is left of the text.
    """
    for row in rows:
        _say(f"stage {row['stage']}:")
        if left := row["left_out"]:
            what = f"{left['count']} times its readers left out a part of their input, the first: {left['first']}"
            _say(f"  warning: {what}")
        for step in row["steps"]:
            _say(f"  {step['name']}: {_counted(step['counts'])}")
    writers = [step for step in rows[-1]["steps"] if "WRITER" in step["name"].upper()]
    if writers and not any(step["counts"].get("total") for step in writers):
        raise InputError(
            f"no document is left after stage {rows[-1]['stage']}; the counts above say which step took them"
        )


def _counted(counts: dict[str, Any]) -> str:
    names = {"documents": "read", "total": "in", "forwarded": "kept", "dropped": "dropped"}
    told = [f"{counts[key]:,} {name}" for key, name in names.items() if isinstance(counts.get(key), int)]
    return ", ".join(told) or "done"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
