"""Cancelling a job: who may be cancelled, and waiting for the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from automodel_launch import contract, executors
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch import state

LATE_S = 30.0  # after stop_grace, for the agents to kill and to write down what was


def ask(record: Record, before: Status, now: bool) -> str | None:
    """Ask for a job's end; what is to be said of how it will end. `before` is its state.

    Raises:
        JobError: it has ended, nobody knows it, or its place refuses.
        ClusterError: its place does not answer.
    """
    if before.over:
        raise JobError(f"{record.job_id} has already ended: {before.state}.")
    if before.forgotten:
        raise JobError(f"{record.job_id} cannot be cancelled: {before.error}.", "python launch.py jobs")
    return executors.get(record.executor).cancel(record, now=now)


def wait(record: Record, say: Callable[[str], None]) -> Status:
    """Wait until a job that was asked to end has ended.

    Raises:
        JobError: nobody knows it any longer, and it has left no record.
        ClusterError: it has not ended by itself, and its place does not answer.
    """
    executor = executors.get(record.executor)
    end, pause = state.of(record), 0.2
    grace = record.handle.get("stop_grace")  # where nobody else keeps that time, or an agent may be missing
    patience = time.monotonic() + grace + LATE_S if grace else float("inf")
    while not end.over and not end.forgotten:
        time.sleep(pause)
        if time.monotonic() > patience:
            patience = float("inf")
            say(f"{record.job_id} has not ended within its stop_grace: killing it")
            told = executor.cancel(record, now=True)
            if told:
                raise ClusterError(f"{record.job_id} has not ended yet. {told}", "python launch.py cancel JOB --now")
        end, pause = state.of(record), min(pause * 1.5, executor.poll_s)
    if not end.over and not executor.place_of(record).names(record.job_dir):
        return Status(contract.CANCELLED, error=f"{contract.MEANINGS[contract.CANCELLED]}; {end.error}")
    if not end.over:
        raise JobError(f"{record.job_id} was told to end, and how it did is not known: {end.error}.")
    return end
