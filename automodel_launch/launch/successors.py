"""Jobs that wait for a run, as they are noted in RUN_DIR/after, and what becomes of them where no agent ends it.

An agent that ends does the same (recipes/node_agent_lib/successors.py).
"""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, LaunchError
from automodel_launch.jobs import records
from automodel_launch.jobs.jobdir import parse
from automodel_launch.jobs.records import Record
from automodel_launch.launch import state
from automodel_launch.remote.filesystem import FileSystem
from automodel_launch.remote.shell import AT_ONCE

Run = Mapping[str, Any]  # an entry of Plan.after


def note(run: Run, record: Record) -> str:
    """The file that tells of a job that waits."""
    return f"{run['run_dir']}/{contract.SUCCESSORS}/{record.job_id}.json"


def register(runs: Sequence[Run], record: Record, place: FileSystem) -> None:
    """Note in each run's directory that the job waits for it.

    Raises:
        ClusterError: that cannot be written.
    """
    told = {key: getattr(record, key) for key in contract.SUCCESSOR_KEYS}
    own = {**told, "record": asdict(replace(record, after=[]))}

    def write(run: Run) -> None:
        more = {contract.ANY_END: True} if run.get(contract.ANY_END) else {}
        place.create(note(run, record), json.dumps({**own, **more}) + "\n")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(write, runs))


def forget(record: Record, place: FileSystem) -> None:
    """The job waits no longer: take the notes away."""
    with suppress(ClusterError), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda run: place.remove(note(run, record)), record.after))


def withdraw(record: Record, why: str) -> None:
    """Cancel a job that waits, and those that wait for it; its record says why.

    Raises:
        ClusterError: its place does not answer.
    """
    executor = executors.get(record.executor)
    place = executor.place_of(record)
    end = contract.ended_before_it_began(record.job_id, why, time.time())
    place.create(f"{record.job_dir}/{contract.EXIT}", json.dumps(end) + "\n")
    with suppress(LaunchError):  # it may have left the queue meanwhile
        executor.cancel(record)
    forget(record, place)
    cancel_waiting(record, f"{record.job_id} ({contract.CANCELLED})")


def cancel_waiting(record: Record, words: str) -> None:
    """Cancel those that wait for the run of a job that has ended without an agent, which would have done it.

    A job that takes a failure (ANY_END) stays as it is, until somebody looks at it.

    Raises:
        ClusterError: its place does not answer.
    """
    place = executors.get(record.executor).place_of(record)
    folder = f"{record.run_dir}/{contract.SUCCESSORS}"
    names = [name for name in place.names(folder) if name.endswith(".json")]
    if not names or contract.STOP in place.names(record.run_dir):
        return
    paths = [posixpath.join(folder, name) for name in names]
    for path, found in zip(paths, place.read_many([(path, 0) for path in paths]), strict=True):
        told = (parse(found[0]) or {}) if found else {}
        if told.get(contract.ANY_END):
            continue
        waits = records.from_json(told.get("record"))
        handle = executors.get(waits.executor).find(waits) if waits else None
        if waits and handle is not None:
            withdraw(state.started(waits, handle), f"it was to follow {words}")
        place.remove(path)
