"""Workers that are forked from a process in which the engine is loaded: it is loaded once, and in memory once.

Loading fastokens takes 0.5 s for 32,000 ids and 1.4 s for 128,000. The process that forks (multiprocessing's
forkserver) is started anew and does nothing else, so that it has one thread and no lock of the main process; the engine
makes its threads and fills its caches when it first encodes, which is in the workers. Elsewhere than on Linux each
worker is started anew (spawn), and loads the engine itself: Apple's libraries are not to be used after a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from data_prep_lib import engines
from data_prep_lib.errors import DataPrepError

T = TypeVar("T")

_WANTED = "DATA_PREP_ENGINES"  # NAME,NAME:PATH, for the process that forks; not for the workers
_ROOT = str(Path(__file__).parent.parent)


def context(candidates: Sequence[str], tokenizer_path: str) -> Any:
    """A multiprocessing context whose processes have the first of the engines that can be loaded.

    What forks is one for the whole of this process: processes of a second call load what it has not.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([f"{__package__}.preload"])
    before = {name: os.environ.get(name) for name in (_WANTED, "PYTHONPATH", *engines.ONE_THREAD)}
    paths = [_ROOT, *filter(None, [before["PYTHONPATH"]])]  # Python before 3.13 does not hand sys.path on
    wanted = {_WANTED: f"{','.join(candidates)}:{tokenizer_path}", "PYTHONPATH": os.pathsep.join(paths)}
    os.environ |= {**wanted, **engines.ONE_THREAD}
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return made


def preload() -> None:
    """In the process that forks. What fails here fails in the process that tries the engines, too, which says why."""
    names, _, path = os.environ.pop(_WANTED, "").partition(":")
    for engine in names.split(","):
        with suppress(BaseException):  # down to pyo3's PanicException
            engines.keep(engine, path)
            return


def call(context: Any, function: Callable[..., T], *args: Any) -> T:
    """What the function gives in a process of its own.

    Raises:
        DataPrepError: its own, or it was killed.
    """
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args), daemon=True)
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        message = "the process that tries the engines was killed, or failed\n  run the same command again"
        raise DataPrepError(message) from None
    finally:
        process.terminate()
        process.join()
        receiver.close()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _answer(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    engines.one_thread()
    try:
        sender.send((function(*args), None))
    except DataPrepError as e:
        sender.send((None, e))
