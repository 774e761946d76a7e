"""Ranks as forks of one process that has imported its framework: what torchrun does, without its imports.

Standard library only: Megatron-Bridge's Python runs it, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path


def environs(ranks: int) -> list[dict[str, str]]:
    """What torchrun would tell each rank of one node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def run(
    main: Callable[[], int | None], folder: str | Path, each: Iterable[Mapping[str, str]], limit_s: float
) -> tuple[int | None, str]:
    """(exit code, output) of `main` in a fork for each environment; the code is None where it ran past the limit.

    The first bad exit code counts; the others are killed then, as torchrun does. Nothing that they have spawned stays.
    """
    with tempfile.TemporaryFile() as output:
        children = []
        for environ in each:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.chdir(folder)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.environ.update(environ)
                _become(main)
            children.append(pid)
        code = _wait(children, limit_s)
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _become(main: Callable[[], int | None]) -> None:
    """End this process with what `main` returns, or with its traceback."""
    code = 1
    try:
        code = main() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        print(f"SystemExit: {error.code}")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(children: list[int], limit_s: float) -> int | None:
    end, left, worst = time.monotonic() + limit_s, set(children), 0
    while left and time.monotonic() < end:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in left:
            left.discard(pid)
            worst = worst or os.waitstatus_to_exitcode(status)
            end = min(end, time.monotonic() + 5) if worst else end
        time.sleep(0.05)
    for pid in children:  # of those that have ended, too: savers of checkpoints outlive their rank
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for pid in left:
        os.waitpid(pid, 0)
    return None if left and not worst else worst
