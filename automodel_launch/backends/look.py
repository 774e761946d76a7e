"""What a recipe itself says of a config: its `look` reads the config, the data's names and a sample of the rows.

The keys of its config stand in the recipe alone, so it is asked, as a program: it cannot be imported here. Where the
data are not on this machine, or are still to be made, it looks at the config only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from automodel_launch import backends
from automodel_launch.config import dotted, yamlio
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
def looked(plan: Plan) -> Looked:
    """Ask the recipe about the plan's config."""
    with tempfile.TemporaryDirectory(prefix="data-prep-look-") as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(yamlio.json_value(plan.config)), encoding="utf-8")
        command = [_python(plan), str(plan.recipe.path), "look", "--config", str(path)]
        command += [] if sees_data(plan) else ["--config-only"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return Looked(failed=f"the look at them took more than {SECONDS:.0f} s")
        except OSError as error:
            return Looked(failed=f"{command[0]} cannot be run: {error.strerror}")
    return _read(done)


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
