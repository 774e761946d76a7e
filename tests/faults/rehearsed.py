"""A launch rehearsed by recipes/rehearse.py's own parts: one worker for many, since its imports take seconds."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import yaml

from automodel_launch.config import yamlio
from automodel_launch.errors import LaunchError
from tests.faults import launches, real_automodel
from tests.faults.launches import ROOT, Launch, Stage

LIMIT_S = 240.0  # of one rehearsal on a machine that is busy with other things; a quiet one needs some seconds


class Rehearsals:
    """A worker that has imported AutoModel, from the first rehearsal to `end`."""

    def __init__(self, limit: float = LIMIT_S) -> None:
        self._limit = limit
        if str(ROOT / "recipes") not in sys.path:
            sys.path.insert(0, str(ROOT / "recipes"))
        self._stack = contextlib.ExitStack()
        self._worker: Any = None

    def of(self, launch: Launch, stage: Stage, *, cuda: bool = False) -> dict[str, Any]:
        """The result for a launch, of which nothing is set up yet (the protocol of recipes/rehearse_lib/result.py).

        `cuda`: as a job with GPUs, which some of AutoModel's models need.
        """
        launches.set_up(launch, stage)
        with launches.shell(launch, stage):
            content, ranks = _config(launch, stage)
            return self.asked(content, ranks, cuda=cuda, code=[str(stage.here)])

    def asked(self, content: dict[str, Any], ranks: int, **fields: Any) -> dict[str, Any]:
        """The result for a config on one node of so many ranks; `fields` are others of the request."""
        from rehearse_lib import parent, request, result, versions

        self._worker = self._worker or self._started()
        self._worker.deadline = time.monotonic() + self._limit
        default = {"config": content, "world_size": ranks, "processes_per_node": ranks, "seconds": self._limit}
        made: dict[str, Any] = parent.Rehearsal(
            request.of({**default, **fields}), self._worker, versions.installed()
        ).run()
        if any(entry["reason"] == result.TIME for entry in made["partial"]):
            self.end()  # what it says now is the answer to this one
        return made

    def end(self) -> None:
        """End the worker, if there is one."""
        self._stack.close()
        self._worker = None

    def _started(self) -> Any:
        from rehearse_lib import orders, scratch

        place = scratch.Scratch()
        self._stack.callback(place.remove)
        worker: Any = orders.Worker(place.path, time.monotonic() + 4 * self._limit)
        self._stack.callback(worker.end)
        place.watch(worker.process.pid)
        said = worker.wait_until_ready()
        worker.wait_until_ready = lambda: said  # a rehearsal asks for it once each
        return worker


def _config(launch: Launch, stage: Stage) -> tuple[dict[str, Any], int]:
    """(the job's config as its file has it, ranks); composed without the launcher where that refuses to resolve it."""
    try:
        plan = launches.plan(launch, stage)
        content, ranks = dict(plan.config), plan.world_size
    except LaunchError:
        content, ranks = real_automodel.composed(launch, stage), launch.ranks or 2
    read: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(yamlio.dump(content))))
    return read, ranks
