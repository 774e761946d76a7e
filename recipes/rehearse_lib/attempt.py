"""One attempt, in a child of the worker: what the stages did, as an answer that can be sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import environment, guard, outcomes, request, result
from .failure import describe
from .stages import Enough, Run


def answer(order: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Carry an order out; `tell` is told each stage as it begins."""
    asked, scratch = request.of(order["request"]), Path(order["scratch"])
    config = order["config"]
    environment.take(scratch, environment.of_rank(order["rank"], asked.world_size, asked.processes_per_node))
    unknown = _take_variables(asked, config)
    _take_code(asked, scratch)
    guard.install(scratch)
    run = Run(asked, config, order["rank"], scratch, order["until"], tell)
    refusal = None
    try:
        run.all()
    except Enough:
        pass
    except BaseException as error:
        refusal = _refusal(error, run, unknown)
    return {"refusal": refusal, "partial": run.notes, "seconds": run.seconds, "memory": run.memory}


def _refusal(error: BaseException, run: Run, unknown: set[str]) -> dict[str, Any] | None:
    """What the error refuses; None where it is a limit of rehearsing, which goes to the run's notes."""
    error = run.unwrapped(error)
    asked = run.request
    limit = outcomes.limit_of(error, job_python=asked.job_python, cuda=asked.cuda, config=run.config)
    if limit is None and guard.tried and isinstance(error, OSError):
        limit = result.partial(result.FORBIDDEN, str(guard.tried[-1]))
    refusal = describe(error, run.stage, run.config)
    stood_in = environment.STAND_IN in refusal["text"] or _depends_on(refusal["key"], run.config, unknown)
    if limit is None and unknown and stood_in:
        text = f"{', '.join(sorted(unknown))} is known in the job only, and stood in for: {refusal['text']}"
        limit = result.partial(result.ENVIRONMENT, text)
    if limit is None:
        return refusal
    run.notes.append(limit)
    return None


def _depends_on(key: str | None, config: Mapping[str, Any], unknown: set[str]) -> bool:
    """Whether a failure of that key's section, or of an unknown one, may come from a variable that was stood in for."""
    value: Any = config
    for part in key.split(".")[:1] if key else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return bool(environment.unknown_variables(value, {}) & unknown)


def _take_variables(asked: request.Request, config: Any) -> set[str]:
    """Set the variables that the configuration refers to; the names of those that only the job has."""
    os.environ.update(dict.fromkeys(asked.secrets, environment.STAND_IN))
    os.environ.update({name: value for name, value in asked.env.items() if name not in asked.secrets})
    unknown = environment.unknown_variables(config, os.environ)
    os.environ.update(dict.fromkeys(unknown, environment.STAND_IN))
    return unknown


def _take_code(asked: request.Request, scratch: Path) -> None:
    """Have the user's own files where a job has them: `my/model.py` in the working directory, which is on the path."""
    here = scratch / "code"
    here.mkdir(exist_ok=True)
    for name in asked.code:
        source = Path(name).absolute()
        for path in source.iterdir() if source.is_dir() else [source]:
            link = here / path.name
            link.unlink(missing_ok=True)  # of an earlier attempt, in a worker that serves many
            link.symlink_to(path)
        sys.path.insert(0, str(source if source.is_dir() else source.parent))
    sys.path.insert(0, str(here))
    os.chdir(here)
