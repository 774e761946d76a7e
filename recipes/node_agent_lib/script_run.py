"""The training process itself: runs the script as __main__, and notes the exception that leaves it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import time
import traceback
from types import ModuleType, TracebackType

import contract

from . import code_names, redaction
from .error_line import ERROR_CHARS, error_line
from .files import write_json
from .rank_files import error_path
from .watcher import RECORD_PATIENCE_S

_TRACEBACK_LINES = 60


class ScriptRun:
    """The script, run as __main__ in this process."""

    def __init__(self, directory: str, rank: int, script: str, copied: tuple[str, str] | None = None) -> None:
        """`copied`: the directory of the job's code that holds the script, and the one that it is a copy of."""
        self._copied = copied
        self._error_path = error_path(directory, rank)
        self._script = script
        self._pid = os.getpid()

    def run(self, args: list[str]) -> int:
        """Ends with the script's own code; an exception is recorded at the moment it leaves the script."""
        sys.argv[:] = [self._script, *args]
        sys.modules.pop("contract", None)  # the script may have a module of this name itself
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = os.path.dirname(os.path.abspath(self._script))
        try:
            self._run_as_main()
        except SystemExit as end:
            if isinstance(end.code, int) and end.code and not end.code & 0xFF:
                self._record(1, f"sys.exit({end.code}), of which the system would see 0", None)
                return 1
            if not isinstance(end.code, str):
                raise
            if end.code.strip():
                self._record(1, end.code.strip().splitlines()[0], None)
            print(redaction.text(end.code), file=sys.stderr)
            return 1
        except BaseException as error:
            if os.getpid() != self._pid:  # a child that the script forked by hand: not this rank's error
                raise
            code = contract.INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
            trace = error.__traceback__ = _own_frames(error.__traceback__)
            lines = "".join(traceback.format_exception(type(error), error, trace)).rstrip().splitlines()
            self._record(code, error_line(error), "\n".join(lines[-_TRACEBACK_LINES:]))
            _print(error, trace)
            return code
        return 0

    def _run_as_main(self) -> None:
        if self._copied is None:
            runpy.run_path(self._script, run_name="__main__")
            return
        code_names.install(*self._copied)
        main = ModuleType("__main__")  # as run_path makes one, which knows one name of a script only
        main.__file__, main.__spec__ = self._script, None
        sys.modules["__main__"] = main
        exec(code_names.compiled(self._script, *self._copied), vars(main))

    def _record(self, code: int, error: str, trace: str | None) -> None:
        now = time.time()
        if os.getpid() != self._pid:
            return
        redaction.arm_environment(os.environ)  # the script may have read a token from a file and set it
        error, trace = redaction.text(error), redaction.text(trace) if trace is not None else None  # whole: then cut
        try:
            value = {"time": now, "code": code, "error": error[:ERROR_CHARS], "traceback": trace}
            write_json(self._error_path, value, RECORD_PATIENCE_S)
            if trace is not None:
                _write_torchelastic(error, trace, now)
        except OSError as problem:
            print(f"node agent's worker: {problem}", file=sys.stderr)


def _print(error: BaseException, trace: TracebackType | None) -> None:
    """As Python would, or the script's own hook, but without secrets: an error is where a token stands most often."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        sys.excepthook(type(error), error, trace)
    sys.stderr.write(redaction.text(said.getvalue()))


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's first frame on; all of it where the script has none (a syntax error)."""
    ours = (os.path.abspath(__file__), os.path.abspath(runpy.__file__))
    rest = trace
    while rest is not None:
        name = rest.tb_frame.f_code.co_filename
        if os.path.abspath(name) not in ours and not name.startswith("<frozen runpy"):
            return rest
        rest = rest.tb_next
    return None


def _write_torchelastic(error: str, trace: str, now: float) -> None:
    """The error file that torchrun reads, unless the script's own @record has written it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path and not os.path.exists(path):
        extra = {"py_callstack": trace, "timestamp": str(int(now))}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": error, "extraInfo": extra}}, file)
