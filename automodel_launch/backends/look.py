"""What a recipe itself says of a config: its `look` reads the config, the data's names and a sample of the rows.

The keys of its config stand in the recipe alone, so it is asked, as a program: it cannot be imported here. Where the
data are not on this machine, or are still to be made, it looks at the config, and at most at data in object stores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from automodel_launch import backends
from automodel_launch.config import dotted, yamlio
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

SECONDS = 60.0  # a file system that does not answer ends the look, not the dry run


@dataclass(frozen=True)
class Looked:
    """The recipe's answer; `output`: where its output will lie, where that is known; `failed`: why there is none."""

    findings: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[Mapping[str, Any], ...] = ()
    total: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    failed: str = ""


@lru_cache(maxsize=2)  # the checks and the preview ask about the same plan
def looked(plan: Plan, aside: tuple[str, ...] = (), variables: tuple[str, ...] = ()) -> Looked:
    """Ask the recipe about the plan's config.

    aside: keys that change nothing of the answer: plans that differ in them alone are one question.
    variables: beginnings of the names of the profile's variables that are set for it, as they are for the job.
    """
    config = {key: value for key, value in plan.config.items() if key not in aside}
    command = (_python(plan), str(plan.recipe.path), "look")
    options = () if sees_data(plan) else ("--config-only",)
    return _asked(command, options, json.dumps(yamlio.json_value(config)), tuple(_environ(plan, variables).items()))


@lru_cache(maxsize=2)
def _asked(
    look: tuple[str, ...], options: tuple[str, ...], config: str, environ: tuple[tuple[str, str], ...]
) -> Looked:
    with tempfile.TemporaryDirectory(prefix="data-prep-look-") as folder:
        path = Path(folder, "config.json")
        path.write_text(config, encoding="utf-8")
        command = [*look, "--config", str(path), *options]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env=dict(environ),
            )
        except subprocess.TimeoutExpired:
            return Looked(failed=f"the look at them took more than {SECONDS:.0f} s")
        except OSError as error:
            return Looked(failed=f"{command[0]} cannot be run: {error.strerror}")
    return _read(done)


def findings(found: Looked, known: Mapping[str, Callable[..., Finding]]) -> Iterator[Finding]:
    """The recipe's findings. `known`: a code -> what makes a finding of (level, message, fix)."""
    for entry in found.findings:
        message = str(entry["message"])
        dot = "" if message.endswith((".", "?", "!")) else "."
        yield known[entry["code"]](entry["level"], f"{message}{dot}", entry["fix"])


def _environ(plan: Plan, variables: tuple[str, ...]) -> dict[str, str]:
    given = {name: value for name, value in plan.profile.env_vars.items() if name.startswith(variables)}
    return {**os.environ, **given}


def sees_data(plan: Plan) -> bool:
    """The config's paths mean here what they mean in the job, and no earlier job has still to make what it reads."""
    if not plan.visible or plan.mounts or dotted.left_to_the_job(plan.config):
        return False
    read = (one.value for one in backends.of(plan.recipe).references(plan.config) if one.kind != "output")
    return not any(isinstance(path, str) and plan.missing(path) for path in read)


def _python(plan: Plan) -> str:
    """The job's own, where it runs on this machine: it has the libraries."""
    return plan.profile.python if plan.here and plan.profile.python else sys.executable


def _read(done: subprocess.CompletedProcess[str]) -> Looked:
    try:
        answer = json.loads(done.stdout)
        return Looked(tuple(answer["findings"]), tuple(answer["sources"]), answer["total"] or {}, answer.get("output"))
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Looked(failed=f"the recipe's look ended with code {done.returncode}: {last}")
