"""`evaluate RUN`: checkpoints of a run -> configs of the recipe `evaluate`, made of the run's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.config import yamlio
from automodel_launch.errors import JobError
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.jobs.records import Record
from automodel_launch.launch import origin
from automodel_launch.launch.checkpoints import listing
from automodel_launch.launch.checkpoints.listing import Kept, Row
from automodel_launch.launch.evaluation_jobs import RECIPE
from automodel_launch.launch.origin import Origin
from automodel_launch.remote import filesystem

ALL = "all"


@dataclass(frozen=True)
class Evaluated:
    """A run whose checkpoints are to be evaluated: its config, and the variables that only its jobs have."""

    kept: Kept
    config: Mapping[str, Any]
    job_env: tuple[str, ...]

    def chosen(self, word: str) -> list[Row]:
        """The checkpoints that STEP means: one, or `all` complete ones.

        Raises:
            UsageError: there is none.
        """
        return list(self.kept.complete) if word == ALL and self.kept.complete else [self.kept.find(word)]

    def faults(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """Of each that is damaged what is wrong with it, by name; all are opened, in one look."""
        found = self.kept.ask("verify", names=[row.name for row in rows])["faults"]
        return {name: faults for name, faults in found.items() if faults}

    def origin(self, row: Row) -> Origin:
        """A checkpoint as what the evaluation begins from: told to its run, so that `prune` keeps it meanwhile."""
        return origin.of_evaluation(self.kept, row, self.config)

    def write(self, row: Row, folder: Path) -> Path:
        """The config of a checkpoint's evaluation, as a file that is named after the run."""
        backend = backends.get(self.kept.backend)
        made = backend.evaluation(self.config, f"{self.kept.folder}/{row.name}")
        text = yamlio.dump({"run": {"job_env": list(self.job_env)}, **made})
        path = folder / RECIPE / f"{self.kept.record.run_name}.yaml"  # as messages and the plan show it
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def of(record: Record, recipes: Path, scratch: Path) -> Evaluated:
    """A run with its checkpoints, and the config of its last job, of which `scratch` takes a copy.

    Raises:
        JobError: what its job has left cannot be read.
        ClusterError: its place does not answer.
    """
    kept = listing.look(record, recipes)
    found = filesystem.whole(kept.place, f"{record.job_dir}/{contract.CONFIG}")
    if found is None:
        raise JobError(f"{record.job_dir}/{contract.CONFIG} is gone.", "python launch.py evaluate -c FILE")
    copy = scratch / contract.CONFIG
    copy.write_bytes(found)
    config = yamlio.read(copy).data
    deferred = JobDir(record.job_dir, kept.place).plan().get("kept_for_the_job")
    return Evaluated(kept, config, tuple(map(str, deferred if isinstance(deferred, list) else ())))
