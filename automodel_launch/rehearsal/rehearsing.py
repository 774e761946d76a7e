"""Rehearse a plan, or look up what an earlier rehearsal of it has found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract, executors
from automodel_launch.backends import Rehearsal
from automodel_launch.errors import ClusterError
from automodel_launch.executors.job_python import JobPython, NotAtHand
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.rehearsal import cache, request, running, text
from automodel_launch.rehearsal.result import Result
from automodel_launch.rehearsal.script import Script
from automodel_launch.rehearsal.wanted import Wanted
from automodel_launch.remote.shell import LocalShell

Say = Callable[[str], None]
_IGNORED = {"__pycache__"}


@dataclass(frozen=True)
class Outcome:
    """What came of it. `document`: the answer as JSON data, None where there is none; `cached`: of an earlier time."""

    findings: list[Finding] = field(default_factory=list)
    document: Mapping[str, Any] | None = None
    cached: bool = False


def rehearse(
    plan: Plan, wanted: Wanted, folder: Path, *, offline: bool = False, say: Say = lambda said: None
) -> Outcome:
    """Findings about the plan from its framework's own code; `folder` keeps answers. It raises nothing of its own.

    What keeps it from being made is a note. Unless somebody asked, nothing is said of a recipe that need not start its
    framework in the way that is tried, and nothing is tried.
    """
    backend = backends.of(plan.recipe).rehearsal(plan)
    if backend is None:
        framework = backends.of(plan.recipe).framework
        reason = (
            f"a rehearsal of {framework.title}'s set-up does not exist; the config has been checked as without it"
            if framework
            else "it is not known what this recipe trains with"
        )
        return Outcome([text.not_made(reason)] if wanted.asked else [])
    if not backend.known and not wanted.asked:
        return Outcome()
    python = executors.get(plan.executor).job_python(plan)
    if isinstance(python, NotAtHand):
        return Outcome([text.not_made(python.reason, fix=python.fix)])
    if offline and (not isinstance(python.shell, LocalShell) or python.waits_s):
        return Outcome([text.not_made("--offline asks no cluster anything")])
    try:
        found, cached = _found(plan, backend, wanted, python, folder, say)
    except running.NotRun as error:
        return Outcome([text.not_made(str(error), python.where)])
    except ClusterError as error:
        return Outcome([text.not_made(error.message.rstrip("."), python.where, error.hint)])
    return Outcome([*text.findings(plan, backend.title, found, python.where)], found.document, cached)


def possible(plan: Plan) -> str | None:
    """What would be tried, and where; None where that cannot be, or would take a place in a queue."""
    backend = backends.of(plan.recipe).rehearsal(plan)
    python = executors.get(plan.executor).job_python(plan) if backend else None
    if backend is None or not isinstance(python, JobPython) or python.waits_s:
        return None
    return f"{backend.title}'s own set-up and one step {python.where}"


def _found(
    plan: Plan, backend: Rehearsal, wanted: Wanted, python: JobPython, folder: Path, say: Say
) -> tuple[Result, bool]:
    """The answer, and whether it was known.

    Raises:
        NotRun, ClusterError: there is none.
    """
    program = _program(plan, backend)
    script = Script(python)
    asked = request.of(plan, backend, wanted, python.own, script.code)
    stamp = running.stamp_of(python, list(backend.reads))
    name = stamp and cache.key(
        [stamp, python.where, python.start, _hashes(plan, program), request.lasting(asked, plan)]
    )
    known = cache.load(folder, name) if name else None
    if known:
        return known, True
    late = cache.was_late(folder, name) if name and not wanted.asked else None
    if late is not None and late >= wanted.seconds:
        raise running.NotRun(f"it had no answer within {late} s the last time; --rehearse gives it more")
    say(f"rehearsing {python.where}: {backend.title}'s own set-up and one step, {wanted.seconds} s at most ...")
    main = f"{contract.RECIPES}/{backend.program}"
    try:
        found = running.run(plan, program, main, script, asked, wanted.seconds)
    except running.Late:
        if name:
            cache.remember_late(folder, name, wanted.seconds)
        raise
    if name:
        cache.save(folder, name, found)
        if found.late:
            cache.remember_late(folder, name, wanted.seconds)
    return found, False


def _program(plan: Plan, backend: Rehearsal) -> dict[str, Path]:
    """The rehearsal's own files, by where they lie beside those that travel with the job.

    Raises:
        NotRun: this installation has none.
    """
    agent = next((file.source for file in plan.files if file.path == contract.NODE_AGENT), None)
    recipes = agent.parent if agent else plan.recipe.path.parent
    if not (recipes / backend.program).is_file():
        raise running.NotRun(f"{recipes} has no {backend.program}")
    files = [recipes / backend.program]
    for part in backend.parts:
        beside = recipes / part
        inner = beside.rglob("*.py") if beside.is_dir() else [beside] if beside.is_file() else []
        files += sorted(path for path in inner if not _IGNORED & set(path.parts))
    return {f"{contract.RECIPES}/{path.relative_to(recipes).as_posix()}": path for path in files}


def _hashes(plan: Plan, program: Mapping[str, Path]) -> dict[str, str]:
    own = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in program.items()}
    return {**{file.path: file.sha256 for file in plan.files}, **own}
