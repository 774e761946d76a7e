"""Children of this process: rehearsals, and whatever else must not stay in it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LIMIT_S = 120


class Forks:
    """Carries out a worker's orders by children of this process, which has AutoModel imported."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def rehearse(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a request."""
        from rehearse_lib import parent, request

        return parent.Rehearsal(request.of(content), self, {}).run()  # type: ignore[arg-type]

    def wait_until_ready(self) -> dict[str, Any]:
        """As the worker's."""
        from rehearse_lib import orders

        return {orders.READY: True}

    def attempt(self, order: Mapping[str, Any]) -> Any:
        """As the worker's: from its own function, with its answers in a file."""
        from rehearse_lib import orders, worker

        with tempfile.TemporaryFile() as answers:
            raw = os.fdopen(os.dup(answers.fileno()), "wb", buffering=0)
            worker.serve(json.loads(json.dumps({**order, "seconds": LIMIT_S})), raw)
            raw.close()
            answers.seek(0)
            made = orders.Attempt()
            for line in answers:
                made.take(line)
        return made


def forked(function: Callable[[], Any]) -> Any:
    """What a function returns in a child; "killed" where it hangs or dies, "raised ..." where it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_S)
        try:
            said = function()
        except BaseException as error:
            said = f"raised {type(error).__name__}: {error}"
        os.write(writer, pickle.dumps(said))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        content = stream.read()
    os.waitpid(pid, 0)
    return pickle.loads(content) if content else "killed"


def until(holds: Callable[[], Any], seconds: float = 2 * LIMIT_S) -> Any:
    """Wait for something to hold, and return it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.02)
    return found
