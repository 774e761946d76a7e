"""One profile of one rank: torch's profiler around steps, its trace as a file, and the time outside of collectives.

Ranks wait for each other in collectives, so all of them take a step in the same time. The one that the others wait for
is the one that spends least of it in collectives: on a GPU in NCCL's kernels, which turn there until all have come, on
a CPU in gloo's operations. What is left, `outside_s`, holds computing, loading data and Python, whatever it is that is
slow. Computing that overlaps with a collective is counted for that one, on all ranks alike.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import contract

from . import phase

_ON_CPU = ("gloo:", "mpi:", "ucc:")
_ON_GPU = ("nccl", "rccl")  # kernels: ncclDevKernel_AllReduce_..., ncclKernel_...
_QUICK = 3  # of gzip's levels: others wait


class Profiler:
    """Contract: made at a step before the first one or at that one, then begins and ended for each, then finish.

    Nothing here raises: what goes wrong stands in the rank's record.
    """

    def __init__(self, folder: Path, rank: int, trace: bool) -> None:
        self._folder, self._rank, self._trace = folder, rank, trace
        self._torch: Any = None  # its profiler, while nothing has gone wrong
        self._step: Any = None
        self._begun = 0
        self._ends: list[int] = []  # of the steps, in nanoseconds
        self._error: str | None = None
        self._try(self._prepare)

    def begins(self, step: int) -> None:
        """The first one starts the recording."""
        self._try(lambda: self._begin(step))

    def ended(self) -> None:
        """The step that has begun is over."""
        if self._step is not None:
            self._try(self._end)

    def measure(self) -> dict[str, Any]:
        """What was measured, without writing it down: an object of contract.PROFILE_RANK_KEYS."""
        record: dict[str, Any] = dict.fromkeys(contract.PROFILE_RANK_KEYS)
        self._try(lambda: self._stop(record))
        if self._error is not None and self._begun:
            with contextlib.suppress(Exception):  # it may have been stopped, or not
                self._torch.stop_trace()
        return {**record, "rank": self._rank, "steps": len(self._ends), "error": self._error}

    def finish(self, early: str) -> None:
        """Write it down: the trace, then the record. `early`: why there are fewer steps, or none."""
        with phase.during("writing a profile"):
            record = {**self.measure(), "host": socket.gethostname(), "gpu": _gpu()}
            if early and not self._ends:
                record["error"] = record["error"] or early
            with contextlib.suppress(OSError):  # of a full disk; the one who waits sees that nothing comes
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / contract.PROFILE_RECORD.format(self._rank)
                partial = path.with_suffix(f".{os.getpid()}")
                partial.write_text(json.dumps(record), encoding="utf-8")
                partial.replace(path)

    def _try(self, act: Callable[[], None]) -> None:
        if self._error is not None:
            return
        try:
            act()
        except Exception as error:  # torch's own are RuntimeErrors; a profile is worth no training
            self._error = f"{type(error).__name__}: {' '.join(str(error).split())}"
            print(f"rank {self._rank}: no profile: {self._error}", flush=True)

    def _prepare(self) -> None:
        import torch
        from torch.profiler import profile

        if torch.autograd._profiler_enabled():  # there can be one, and it would be stopped by ours
            raise RuntimeError("another profiler is at work in this process, as the config or the code has it")
        self._torch = profile()
        self._torch.prepare_trace()

    def _begin(self, step: int) -> None:
        from torch.profiler import record_function

        if not self._begun:
            _wait_for_gpu()
            self._torch.start_trace()
            self._begun = time.time_ns()
        self._step = record_function(f"ProfilerStep#{step}")  # the name that tools look for
        self._step.__enter__()

    def _end(self) -> None:
        self._step.__exit__(None, None, None)
        self._step = None
        self._ends.append(time.time_ns())

    def _stop(self, record: dict[str, Any]) -> None:
        if not self._begun:
            if self._torch is not None:  # prepared, and no step came: torch has to be told
                self._torch.start_trace()
                self._torch.stop_trace()
            return
        _wait_for_gpu()
        if self._ends and _has_gpu():
            self._ends[-1] = time.time_ns()
        self._torch.stop_trace()
        if self._ends:
            record |= self._measured(_collectives(self._torch.profiler.kineto_results.events()))
        if self._trace:
            path = self._write()
            record |= {"trace": path.name, "bytes": path.stat().st_size}

    def _measured(self, collectives: list[tuple[int, int]]) -> dict[str, Any]:
        """Seconds a step, and in each of them the seconds outside of collectives."""
        begins = [self._begun, *self._ends[:-1]]
        steps = list(zip(begins, self._ends, strict=True))
        each = [(end - begin - inside(collectives, begin, end)) / 1e9 for begin, end in steps]
        took = (self._ends[-1] - self._begun) / 1e9
        return {"step_s": took / len(each), "outside_s": each}

    def _write(self) -> Path:
        """On this node first: torch writes in many small pieces, and does not tell of a full disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / contract.PROFILE_TRACE.format(self._rank)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with tempfile.TemporaryDirectory(prefix="profile-") as place:
            plain = Path(place, "trace.json")
            self._torch.export_chrome_trace(str(plain))
            if not _is_complete(plain):
                raise OSError(f"the trace could not be written completely in {place}: is that disk full?")
            try:
                with plain.open("rb") as source, gzip.open(partial, "wb", compresslevel=_QUICK) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                partial.replace(path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
        return path


def inside(intervals: Iterable[tuple[int, int]], begin: int, end: int) -> int:
    """How much of the time from `begin` to `end` the intervals cover together."""
    covered, reached = 0, begin
    for start, stop in sorted(intervals):
        start, stop = max(start, reached), min(stop, end)
        if stop > start:
            covered, reached = covered + stop - start, stop
    return covered


def _collectives(events: Iterable[Any]) -> list[tuple[int, int]]:
    on_gpu = _has_gpu()
    names = _ON_GPU if on_gpu else _ON_CPU
    return [
        (event.start_ns(), event.end_ns())
        for event in events
        if event.name().startswith(names) and (event.device_type().name != "CPU") == on_gpu
    ]


def _is_complete(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(-min(file.tell(), 64), os.SEEK_END)
        return file.read().rstrip().endswith(b"}")


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _wait_for_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _gpu() -> str | None:
    """Its number on the node, and its model."""
    import torch

    if not torch.cuda.is_available():
        return None
    return f"{os.environ.get('LOCAL_RANK', torch.cuda.current_device())} ({torch.cuda.get_device_name()})"
