"""A Python that has imported what data-prep imports when it runs, and forks a `data_prep.py` for each request.

A fork server (fork_server.py). The processes that multiprocessing starts there, the one that forks the workers and the
one that keeps account of their locks, are forks in the same way: what they run is multiprocessing's own, with nothing
of the recipe's state but its imports. What reads the environment when it is imported (huggingface_hub) is left to each.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import types
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import NoReturn

import fork_server  # type: ignore[import-not-found]  # beside this script

OTHERS = ("fastokens", "multiprocessing.pool", "multiprocessing.sharedctypes", "numpy", "orjson", "tokenizers", "yaml")
OURS = "data_prep_lib"
# The latter for what its import does. Nothing else is imported here: the larger a process, the longer its forks take.
LEFT = ("__init__", "preload")
_spawnv = util.spawnv_passfds


def warm_up() -> None:
    """Import data-prep."""
    recipes = Path(sys.argv[1], "recipes")
    former, sys.path[0] = sys.path[0], str(recipes)
    names = [path.stem for path in (recipes / OURS).glob("*.py") if path.stem not in LEFT]
    for name in (*OTHERS, *(f"{OURS}.{name}" for name in sorted(names))):
        importlib.import_module(name)
    sys.path[0] = former


def spawn(path: bytes, args: Sequence[str], passed: Sequence[int]) -> int:
    """multiprocessing.util.spawnv_passfds, for what multiprocessing runs by `python -c`: a fork of this process.

    A new interpreter, as ever, where this one has threads, which a fork would lack: those of a store's library.
    """
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return _spawnv(path, args, passed)
    code = args[list(args).index("-c") + 1]
    pid = os.fork()
    if pid == 0:
        _become(code, {int(file) for file in passed})
    return pid


def _become(code: str, passed: set[int]) -> NoReturn:
    """Run the code as a new interpreter would, with these files and the standard ones, and end."""
    ended = 1
    try:
        lowest = 3
        for file in (*sorted(passed), os.sysconf("SC_OPEN_MAX")):
            os.closerange(lowest, file)
            lowest = file + 1
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        atexit._clear()
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        for module, kind in ((forkserver, "ForkServer"), (resource_tracker, "ResourceTracker")):
            _anew(module, kind)
        exec(code, vars(main))
        ended = 0
    except SystemExit as error:
        ended = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended)


def _anew(module: types.ModuleType, kind: str) -> None:
    """What is known of the processes that were started, as it is before the first."""
    (name,) = [name for name, value in vars(module).items() if type(value) is vars(module)[kind]]
    vars(vars(module)[name]).clear()
    vars(module)[name].__init__()


if __name__ == "__main__" and (SCRIPT := fork_server.forked(sys.argv[2], warm_up)) is not None:
    util.spawnv_passfds = spawn  # type: ignore[assignment]
    fork_server.run(SCRIPT)
