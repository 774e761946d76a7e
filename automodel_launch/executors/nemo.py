"""The one door to NeMo-Run, opened late: importing it takes seconds."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from automodel_launch.errors import ClusterError, LaunchError, PlanRefused
from automodel_launch.executors import one_job, stand_ins

_Result = TypeVar("_Result")
NOT_USED = (
    *("leptonai", "libcst", "networkx", "paramiko", "fabric", "requests", "markdown_it", "graphviz"),
    *("omegaconf", "jinja2", "typer", "absl", "docstring_parser", "unittest", "catalogue"),
)
"""What NeMo-Run (0.11.1) imports for what we do not do, or do later: 1.3 s CPU of the 1.7 s without torch.

leptonai and requests are of its executors for DGX Cloud, paramiko and fabric of its SSHTunnel, libcst of fiddle's
auto_config; networkx orders the tasks of an experiment, of which ours have one (one_job.py). markdown_it is of rich's
help pages, graphviz of fiddle's drawings, absl of its flags; typer and omegaconf of NeMo-Run's own command line,
docstring_parser of torchx's, unittest of invoke's mocks, catalogue of its plugins; jinja2 writes Slurm's scripts, and
is the real one then.
"""
_HOMES = "automodel-launch-nemo-"
_NOWHERE = f"{os.devnull}/nemo_run"  # what is written outside of an experiment is an error
_FILES = {"local": ("LOCAL_JOB_DIRS", ".local_jobs.json"), "slurm": ("SLURM_JOB_DIRS", ".slurm_jobs")}
_LEFT_S = 24 * 3600.0  # no submission takes so long: one that is older was left by a launcher that was killed
_POLL_S, _PATIENCE_S = 0.05, 60.0
_ONE_AT_A_TIME = threading.RLock()  # standard streams, and where commands go, are the whole process's


def off_the_main_thread(act: Callable[[], _Result]) -> _Result:
    """Run `act` in a thread of its own, to its end.

    On the main thread torchx's local scheduler (0.7.0) takes SIGINT and SIGTERM for itself, for good, and a signal
    that comes while a job is started would be an exception in the middle of it.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def require() -> str:
    """Import it now, before anything is written for a submission; its version.

    Raises:
        PlanRefused: it cannot be imported.
    """
    with _ONE_AT_A_TIME, _silent():
        return str(_import().__version__)


@contextlib.contextmanager
def experiment(title: str, job_id: str, home: Path) -> Iterator[tuple[Any, Any]]:
    """(nemo_run, an Experiment of that title and id), silent, with its files below `home`.

    NeMo-Run's home, of which some of its modules take paths when they are imported, is a folder that goes with it: its
    own records of jobs are keyed by the Slurm id alone, and nothing here reads them. What it prints goes nowhere: its
    talk would mix with ours, and its errors come as exceptions.

    Raises:
        PlanRefused: NeMo-Run cannot be imported.
        ClusterError: the submission failed.
    """
    home.mkdir(parents=True, exist_ok=True)
    # Of a job that was refused, or whose launcher was killed: its id is free again, and NeMo-Run takes no folder twice.
    shutil.rmtree(home / "experiments" / title / job_id, ignore_errors=True)
    with _ONE_AT_A_TIME, _experiment(title, job_id, home) as opened:
        yield opened


@contextlib.contextmanager
def _experiment(title: str, job_id: str, home: Path) -> Iterator[tuple[Any, Any]]:
    talk = io.StringIO()
    try:
        with _silent(talk):
            run = _import()
        with (
            _home(),
            _silent(talk),
            run.Experiment(
                title,
                id=job_id,
                base_dir=str(home),
                clean_mode=True,
                enable_goodbye_message=False,
                skip_status_at_exit=True,
                serialize_metadata_for_scripts=False,  # else env_vars stand in plain text in its YAML files
                log_level="ERROR",
            ) as exp,
        ):
            yield run, exp
    except LaunchError:
        raise
    except Exception as error:  # whatever NeMo-Run raises means: not submitted; its own text says why
        said = talk.getvalue().strip().splitlines()[-3:]
        reason = "; ".join([f"{type(error).__name__}: {error}", *said])
        raise ClusterError(f"NeMo-Run could not submit {job_id}: {reason}") from error


@contextlib.contextmanager
def _home() -> Iterator[None]:
    from nemo_run.config import set_nemorun_home

    folder = tempfile.mkdtemp(prefix=_HOMES)
    try:
        _remove_left(Path(folder).parent)
        set_nemorun_home(folder)
        for name, (constant, file) in _FILES.items():
            module = sys.modules.get(f"nemo_run.run.torchx_backend.schedulers.{name}")
            if module is not None:
                setattr(module, constant, f"{folder}/{file}")
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_HOMES}*"):
        with contextlib.suppress(OSError):
            told = folder.lstat()
            if told.st_uid == os.getuid() and time.time() - told.st_mtime > _LEFT_S:
                shutil.rmtree(folder)


@contextlib.contextmanager
def _silent(talk: io.StringIO | None = None) -> Iterator[None]:
    talk = talk or io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO()  # it would read ours (0.11.1, invoke), a shell loop's list of jobs, say
    levels = logging.root.handlers[:], logging.root.level
    try:
        with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            yield
    finally:
        sys.stdin = stdin
        logging.root.handlers[:], logging.root.level = levels  # Experiment() replaces them (0.11.1)


def commands_go_to(execute: Callable[[str], Any]) -> contextlib.AbstractContextManager[None]:
    """Where NeMo-Run's commands for a cluster go; only inside `experiment`."""
    from automodel_launch.executors import nemo_tunnel

    return nemo_tunnel.commands_go_to(execute)


def wait(exp: Any) -> None:
    """Until what a local experiment has started has ended; NeMo-Run itself would look every two seconds (0.11.1)."""
    from torchx.specs import is_terminal  # type: ignore[import-untyped]

    end = time.monotonic() + _PATIENCE_S  # then NeMo-Run waits, when the experiment is closed
    while time.monotonic() < end and not all(map(is_terminal, _states(exp))):
        time.sleep(_POLL_S)


def _states(exp: Any) -> list[Any]:
    return [job["status"] for job in exp.status(return_dict=True).values()]


def output(exp: Any) -> str:
    """What the script of a local experiment wrote to stderr and stdout, last lines."""
    texts = [path.read_text(errors="replace") for path in sorted(Path(exp._exp_dir).rglob("std*.log"))]
    return "\n".join(text.strip()[-2000:] for text in texts if text.strip())


def _import() -> Any:
    """Import NeMo-Run once, with a NEMORUN_HOME of which nothing comes, and without torch and what NOT_USED names.

    Seen with nemo_run 0.11.1: core/serialization/yaml.py imports torch where it is installed, only to write
    torch.dtype values, which we never pass; that is half of the import's time. A None in sys.modules makes that
    import raise ModuleNotFoundError, which it handles. tests/executors/test_nemo.py fails when that, or one of
    NOT_USED, is no longer needed.
    """
    if "nemo_run" in sys.modules:
        return sys.modules["nemo_run"]
    former = os.environ.get("NEMORUN_HOME")
    os.environ["NEMORUN_HOME"] = _NOWHERE
    blocked = "torch" not in sys.modules
    if blocked:
        sys.modules["torch"] = None  # type: ignore[assignment]  # documented in importlib's reference
    try:
        with stand_ins.of(*NOT_USED):
            import nemo_run
            from nemo_run.run import experiment as experiments
        experiments.nx = one_job
    except Exception as error:  # a package that is missing, or one whose version does not fit, which may raise anything
        raise PlanRefused(
            f"NeMo-Run cannot be imported, and it submits the job: {type(error).__name__}: {error}",
            "bash scripts/setup.sh installs it, with the versions that fit (leptonai < 0.28)",
        ) from error
    finally:
        if blocked:
            del sys.modules["torch"]
        del os.environ["NEMORUN_HOME"]
        if former is not None:
            os.environ["NEMORUN_HOME"] = former
    from automodel_launch.executors import nemo_once

    nemo_once.remember()
    return nemo_run
