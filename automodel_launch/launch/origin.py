"""`--from RUN[:STEP]`: a training that begins with the weights of another run's checkpoint.

The checkpoint is looked at when the plan is made; its directory stands in the config, so it is part of what the run is;
and the run that it comes from is told, so that `checkpoints RUN prune` keeps it until this one is finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automodel_launch import backends, contract, executors
from automodel_launch.backends import Start
from automodel_launch.config import overrides as overrides_
from automodel_launch.config.merge import MergedConfig
from automodel_launch.config.overrides import Override
from automodel_launch.errors import ClusterError, JobError, UsageError
from automodel_launch.jobs import pipelines, rundir
from automodel_launch.plan.plan import Plan
from automodel_launch.plan.recipes import Recipe
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.workspace import Workspace

if TYPE_CHECKING:
    from automodel_launch.launch.checkpoints.listing import Kept, Row


@dataclass(frozen=True)
class Origin:
    """A complete checkpoint of another run. `path` is the directory with its weights, `step` counts from 0.

    `may_go`: the run is not finished, and its training may remove it, since it keeps only so many (`limit`, as its
    config has it); `fix` is what to do then.
    """

    run_name: str
    run_dir: str
    checkpoint: str
    step: int
    path: str
    may_go: bool
    place: FileSystem
    limit: str = ""
    fix: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON data, for the plan."""
        names = ("run_name", "run_dir", "checkpoint", "step", "path", "may_go", "limit", "fix")
        return {name: getattr(self, name) for name in names}

    def overrides(self, recipe: Recipe, config: MergedConfig) -> list[Override]:
        """What makes the config, as it is without the command line's own overrides, begin from it.

        Raises:
            ConfigError: this recipe's cannot.
        """
        start = Start(self.path, contract.MEGATRON_CHECKPOINT.fullmatch(self.checkpoint) is not None)
        return [overrides_.parse(text) for text in backends.of(recipe).begin_from(config.data, start)]

    def refuse_elsewhere(self, place: FileSystem, profile: str) -> None:
        """The job has to see the checkpoint.

        Raises:
            UsageError: it runs where the checkpoint is not.
        """
        if place != self.place:
            raise UsageError(
                f"--from {self.run_name}: its checkpoints are not where jobs of profile {profile} run.",
                "a profile of that cluster; or copy what `checkpoints RUN export` writes, and name that in the config",
            )

    def refuse_itself(self, run_dir: str) -> None:
        """A run goes on from its own checkpoints by itself.

        Raises:
            UsageError: it is that of the run.
        """
        if run_dir == self.run_dir:
            message = f"--from {self.run_name}: run {self.run_name} would begin from itself; it resumes without --from."
            raise UsageError(message, "another --name, or none, for a run of its own")


def find(workspace: Workspace, wanted: str, offline: bool = False) -> Origin:
    """The checkpoint that RUN[:STEP] means; STEP as its name counts, `last` (default) or `best`.

    Raises:
        UsageError, JobError: there is no such run or checkpoint, or it is not whole, or its weights are in shards.
        ClusterError: its place does not answer.
    """
    name, _, step = wanted.partition(":")
    if not name or (":" in wanted and not step):
        raise UsageError(f"--from {wanted!r} is not understood.", "--from RUN, or --from RUN:STEP")
    record = pipelines.job(workspace.records, name)
    if offline and executors.get(record.executor).place_of(record) != LOCAL:
        raise UsageError("--from has to look at the checkpoint, and --offline asks nothing.", "leave out --offline")
    from automodel_launch.launch.checkpoints import listing

    kept = listing.look(record, workspace.recipes)
    try:
        row = kept.find(step or listing.LAST)
    except UsageError as error:
        raise UsageError(f"--from {wanted}: {error.message}", error.hint) from error
    fix = f"python launch.py checkpoints {record.run_name} export {row.step}, then the same launch again"
    try:
        told = kept.ask("source", name=row.name, others=kept.ways_on(row), fix=fix)
    except JobError as error:
        raise JobError(f"--from {wanted}: {error.message}", error.hint) from error
    limit = backends.get(kept.backend).keep_limit(kept.config()) if told["may_go"] else None
    path, may_go, shown = told["path"], limit is not None, _shown(limit)
    return Origin(record.run_name, record.run_dir, row.name, row.step, path, may_go, kept.place, shown, fix)


def of_evaluation(kept: Kept, row: Row, config: Mapping[str, Any]) -> Origin:
    """A checkpoint as what an evaluation reads, which needs its shards: no export of it helps."""
    record, limit = kept.record, None
    if rundir.finished(record.run_dir, kept.place) is None:
        limit = backends.get(kept.backend).keep_limit(config)
    path, shown = f"{kept.folder}/{row.name}", _shown(limit)
    fix = f"run it where it need not wait; or a greater {limit[0]} in the training's next job" if limit else ""
    return Origin(record.run_name, record.run_dir, row.name, row.step, path, limit is not None, kept.place, shown, fix)


def _shown(limit: tuple[str, int] | None) -> str:
    return f"{limit[0]} = {limit[1]}" if limit else ""


def tell_its_run(plan: Plan) -> None:
    """Leave a note in the directory of the run that it comes from; who may not write there may not prune there."""
    if not plan.origin:
        return
    told = {"run_name": plan.run_name, "run_dir": plan.run_dir, "checkpoint": plan.origin["checkpoint"]}
    path = f"{plan.origin['run_dir']}/{contract.READERS}/{plan.run_name}.json"
    try:
        plan.place.create(path, json.dumps(told) + "\n")
    except ClusterError:
        return
