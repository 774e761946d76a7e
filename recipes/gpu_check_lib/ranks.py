"""A process for each GPU of this node, forked from one that has imported torch and never touched a GPU.

They do what they are told, one task at a time. After a failure all of them are killed and started again: what a broken
group has left behind in a process (a communicator, a CUDA error) must not spoil the next measurement.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from gpu_check_lib.bounded import FORK

_REST_S = 2.0  # what the others have left to tell once one rank has failed
Answer = dict[str, Any]


class Ranks:
    """`count` processes; the first task starts them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._processes: list[tuple[Any, Connection]] = []

    def ask(self, task: str, arguments: Sequence[tuple[Any, ...]], limit_s: float) -> list[Answer]:
        """See `send` and `gather`."""
        self.send(task, arguments)
        return self.gather(limit_s)

    def send(self, task: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Tell every rank to do `task` with its own arguments."""
        if not self._processes:
            self._processes = [_start(rank) for rank in range(self.count)]
        for (_, connection), own in zip(self._processes, arguments, strict=True):
            with contextlib.suppress(OSError):  # it died meanwhile, which `gather` sees
                connection.send((task, own))

    def gather(self, limit_s: float) -> list[Answer]:
        """The answer of each rank; {"error": ...} of one that failed, died or gave none within `limit_s`."""
        end = time.monotonic() + limit_s
        waiting = {connection: rank for rank, (_, connection) in enumerate(self._processes)}
        answers: dict[int, Answer] = {}
        while waiting and (ready := wait(list(waiting), max(0.0, end - time.monotonic()))):
            for connection in ready:
                rank = waiting.pop(connection)  # type: ignore[call-overload]
                answers[rank] = self._answer(rank)
                if "error" in answers[rank]:
                    end = min(end, time.monotonic() + _REST_S)
        for rank in waiting.values():
            answers[rank] = {"error": f"rank {rank}: no answer within {limit_s:g} s"}
        if any("error" in answer for answer in answers.values()):
            self.kill()
        return [answers[rank] for rank in range(self.count)]

    def _answer(self, rank: int) -> Answer:
        process, connection = self._processes[rank]
        try:
            answer: Answer = connection.recv()
            return answer
        except (EOFError, OSError):
            process.join(1.0)
            code = process.exitcode
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
            return {"error": f"rank {rank}: its process {how}"}

    def kill(self) -> None:
        """End the processes; one that hangs in the kernel is not waited for."""
        for process, connection in self._processes:
            process.kill()
            connection.close()
        for process, _ in self._processes:
            process.join(0.5)
        self._processes = []


def error_of(answers: Sequence[Answer]) -> str | None:
    """The first error that tells more than that nothing came."""
    errors = [answer["error"] for answer in answers if "error" in answer]
    return min(errors, key=lambda error: "no answer" in error, default=None)


def _start(rank: int) -> tuple[Any, Connection]:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_serve, args=(theirs, rank, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection, rank: int, parent: int) -> None:
    from gpu_check_lib import work

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work.quieten()
    while os.getppid() == parent:
        if not connection.poll(1.0):
            continue
        try:
            task, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = work.TASKS[task](rank, *arguments)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            answer = {"error": f"rank {rank}: {type(error).__name__}: {lines[0][:200]}"}
        connection.send(answer)
