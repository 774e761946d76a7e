"""One run of MLflow over all attempts of a run. Megatron-Bridge 0.3.1 begins one an attempt (training/state.py).

Its last rank calls mlflow.start_run, and mlflow.log_params with the whole configuration. The run's id is kept in the
run's directory; later attempts give it to start_run by MLFLOW_RUN_ID, which MLflow reads for that. A parameter that has
another value by then (a longer train_iters, say) is an error to MLflow, which would end the training: the first stays.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import contract
from pretrain_lib.finished import write_atomically

KEPT = "mlflow-run"  # in the run's directory
_VARIABLE = "MLFLOW_RUN_ID"


def keep_one(logger: Any) -> None:
    """Have all attempts log to one run, where `logger`, of the configuration, names an experiment."""
    run_dir = os.environ.get(contract.RUN_DIR_VAR)
    is_last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
    if not run_dir or not is_last or not getattr(logger, "mlflow_experiment", None) or os.environ.get(_VARIABLE):
        return
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:  # Megatron-Bridge says so itself
        return
    install(mlflow, Path(run_dir, KEPT))


def install(mlflow: Any, kept: Path) -> None:
    """Put it around two functions of MLflow; `kept` holds the run's id from the first attempt on."""
    mlflow.start_run = _continuing(mlflow.start_run, mlflow, kept)
    mlflow.log_params = _only_new(mlflow.log_params, mlflow)


def _continuing(start: Callable[..., Any], mlflow: Any, kept: Path) -> Callable[..., Any]:
    @functools.wraps(start)
    def start_run(*args: Any, **kwargs: Any) -> Any:
        run = _continued(start, mlflow, kept, args, kwargs) or start(*args, **kwargs)
        with contextlib.suppress(OSError):  # the next attempt begins another one, then
            write_atomically(kept, f"{run.info.run_id}\n")
        return run

    return start_run


def _continued(start: Callable[..., Any], mlflow: Any, kept: Path, args: Any, kwargs: Any) -> Any:
    """The run of the attempts before; None where there is none, or it is not to be had any more."""
    try:
        known = kept.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    if not known:
        return None
    os.environ[_VARIABLE] = known
    try:
        return start(*args, **kwargs)
    except mlflow.exceptions.MlflowException as error:  # deleted, or of another server or experiment
        print(
            f"MLflow's run {known} cannot be continued, another one begins: {' '.join(str(error).split())}", flush=True
        )
        return None
    finally:
        os.environ.pop(_VARIABLE, None)


def _only_new(log: Callable[..., Any], mlflow: Any) -> Callable[..., Any]:
    @functools.wraps(log)
    def log_params(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        run = mlflow.active_run()
        known = mlflow.get_run(run.info.run_id).data.params if run is not None else {}
        new = {key: value for key, value in params.items() if key not in known}
        return log(new, *args, **kwargs) if new else None

    return log_params
