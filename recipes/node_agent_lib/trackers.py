"""Weights & Biases, MLflow and TensorBoard, as far as a run's metrics go. Each package is imported where it is used."""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from typing import Any, Iterator, Protocol, Sequence

from .files import Json, as_number


class Sink(Protocol):
    """One tracker."""

    def log(self, rows: Sequence[Json]) -> None:
        """Tell it of rows of metrics.jsonl; it may raise whatever its package raises."""


@contextlib.contextmanager
def open_sink(target: str, run_dir: str, run_name: str, state: dict[str, Any]) -> Iterator[Sink]:
    """`NAME` or `NAME:PROJECT`, as the profile's `track` has it. `state["id"]`: the run of the attempts before."""
    name, _, project = target.partition(":")
    sink: Any = {"wandb": _Wandb, "mlflow": _Mlflow, "tensorboard": _TensorBoard}[name](
        project, run_dir, run_name, state
    )
    try:
        yield sink
    finally:
        sink.close()


class _Wandb:
    """One run over all attempts, offline too, by WANDB_RUN_ID and WANDB_RESUME, which the launcher sets."""

    def __init__(self, project: str, run_dir: str, run_name: str, state: dict[str, Any]) -> None:
        self._run = import_module("wandb").init(project=project, name=run_name)

    def log(self, rows: Sequence[Json]) -> None:
        for row in rows:
            self._run.log(numbers(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """One run over all attempts, by its id; another one where that is gone. Its place is MLFLOW_TRACKING_URI."""

    def __init__(self, project: str, run_dir: str, run_name: str, state: dict[str, Any]) -> None:
        mlflow = import_module("mlflow")
        self._client = mlflow.MlflowClient()
        experiment = self._client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self._run = (
            self._known(mlflow, state.get("id")) or self._client.create_run(number, run_name=run_name).info.run_id
        )
        state["id"] = self._run
        self._client.update_run(self._run, status="RUNNING")

    def _known(self, mlflow: Any, run: Any) -> str | None:
        if not isinstance(run, str):
            return None
        try:
            found = self._client.get_run(run)
        except mlflow.exceptions.MlflowException:
            return None
        return run if found.info.lifecycle_stage == "active" else None

    def log(self, rows: Sequence[Json]) -> None:
        metric = import_module("mlflow.entities").Metric
        metrics = [
            metric(key, value, int(row["time"] * 1000), row["step"])
            for row in rows
            for key, value in numbers(row).items()
        ]
        for start in range(0, len(metrics), 1000):  # as many as MLflow takes at once
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _TensorBoard:
    """A file of events an attempt, in one directory, which TensorBoard shows as one run."""

    def __init__(self, project: str, run_dir: str, run_name: str, state: dict[str, Any]) -> None:
        module = import_module("tensorboard.summary.writer.event_file_writer")
        self._writer = module.EventFileWriter(os.path.join(run_dir, "tensorboard", run_name))

    def log(self, rows: Sequence[Json]) -> None:
        event = import_module("tensorboard.compat.proto.event_pb2").Event
        summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        for row in rows:
            values = [summary.Value(tag=key, simple_value=value) for key, value in numbers(row).items()]
            self._writer.add_event(event(wall_time=row["time"], step=row["step"], summary=summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def numbers(row: Json) -> dict[str, float]:
    """What a tracker is told of a row: finite numbers; of a validation with a name, under that."""
    name = row.get("name")
    behind = f"/{name}" if isinstance(name, str) and name != "default" else ""
    told = {key: value for key, value in row.items() if key not in ("step", "time")}
    plain = ((key, as_number(value)) for key, value in told.items())
    return {key + behind: value for key, value in plain if value is not None}
