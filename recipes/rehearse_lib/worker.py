"""The worker: imports AutoModel once, then forks a child for each order that it is given."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from . import result
from .orders import ANSWER, DONE, FAILED, READY, STAGE

MODULES = (
    *("torch.testing._internal.distributed.fake_pg", "nemo_automodel.recipes.llm.train_ft", "cpu_adapter"),
    *("nemo_automodel.components.datasets.llm.megatron_dataset", "torch._subclasses.fake_tensor"),
)
NICE = 10
_FILE_BYTES = 1 << 30  # the largest file of a child
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serves orders from standard input until it is closed."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    die_with_the_parent()
    with contextlib.suppress(OSError):
        os.nice(NICE)
    if not _say_ready(answers):
        return 1
    for line in sys.stdin.buffer:
        serve(json.loads(line), answers)
    return 0


def _say_ready(answers: BinaryIO) -> bool:
    try:
        gc.disable()  # as pretrain_lib/collector.py, which does not travel with a rehearsal
        for name in MODULES:
            importlib.import_module(name)
        gc.freeze()
        gc.enable()
        import torch

        torch.set_num_threads(1)  # a pool of threads would not survive a fork
    except Exception as error:
        text = f"AutoModel cannot be imported here: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        _say(answers, {FAILED: True, "partial": result.partial(result.PACKAGE, text, getattr(error, "name", None))})
        return False
    _say(answers, {READY: True})
    return True


def serve(order: Mapping[str, Any], answers: BinaryIO) -> None:
    """Have a child carry out an order, and say how it ended."""
    pid = os.fork()
    if pid == 0:
        _be_the_child(order, answers)
    _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = {"signal": max(-code, 0), "code": max(code, 0), "peak_bytes": used.ru_maxrss * 1024}
    _say(answers, {DONE: True, **ended})


def _be_the_child(order: Mapping[str, Any], answers: BinaryIO) -> None:
    """Carry the order out; never returns."""
    code = 1
    try:
        die_with_the_parent()
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        limit(order["request"]["bytes"], order["seconds"])
        from .attempt import answer

        said = answer(order, lambda stage: _say(answers, {STAGE: stage}))
        _say(answers, {ANSWER: said})
        code = 0
    except BaseException as error:  # of answer() itself; it has caught what the training has raised
        entry = result.partial(result.INTERNAL, f"the rehearsal failed: {type(error).__name__}: {error}")
        _say(answers, {ANSWER: {"refusal": None, "partial": [entry], "seconds": {}, "memory": None}})
    finally:
        os._exit(code)


def _say(answers: BinaryIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what, default=str).encode() + b"\n")


def limit(size: int, seconds: float) -> None:
    """Limit this process: bytes of its own (mapped files do not count), seconds, the size of a file; no core files."""
    _set(resource.RLIMIT_DATA, size)
    _set(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _set(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _set(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def die_with_the_parent() -> None:
    """Have the kernel kill this process when its parent is gone; Linux only, elsewhere the keeper does it."""
    if Path("/proc/self").exists():
        before = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != before:
            os._exit(1)
