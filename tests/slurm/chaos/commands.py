"""Programs in front of the real ones that pass everything on, and fail on demand: while a file of flags/ is there."""

from __future__ import annotations

import shutil
from pathlib import Path

AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
FORGOTTEN = "slurm_load_jobs error: Invalid job id specified"
LOST = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"

# `NAME-away` and `NAME-forgotten` last until they are removed, those of sbatch are for one call.
_ASKED = f"""#!/bin/bash
flags=FLAGS
if [ -e "$flags/NAME-away" ]; then echo "{AWAY}" >&2; exit 1; fi
if [ -e "$flags/NAME-forgotten" ]; then echo "{FORGOTTEN}" >&2; exit 1; fi
if [ -e "$flags/NAME-says" ]; then cat "$flags/NAME-says"; exit 0; fi
exec REAL "$@"
"""
_SBATCH = f"""#!/bin/bash
flags=FLAGS
case "$*" in *--test-only* | --help) exec REAL "$@" ;; esac
if mv "$flags/sbatch-before" "$flags/sbatch-waits" 2> /dev/null; then sleep 4; fi
out=$(REAL "$@"); code=$?
if mv "$flags/sbatch-after" "$flags/sbatch-submitted" 2> /dev/null; then sleep 4; fi
if mv "$flags/sbatch-lost" "$flags/sbatch-done" 2> /dev/null; then echo "{LOST}" >&2; exit 1; fi
[ -z "$out" ] || printf '%s\\n' "$out"
exit $code
"""
# Of a node: missing, a batch script that is killed at its start, a clock that steps.
_PYTHON = """#!/bin/bash
flags=FLAGS node=$(hostname)
if [ -e "$flags/no-python.$node" ]; then echo "bash: $0: command not found" >&2; exit 127; fi
if [ "${2-}" = begin ] && mv "$flags/kill-begin" "$flags/killed-begin" 2> /dev/null; then
  pid=$PPID
  until [ "$pid" -le 1 ] || grep -q slurm_script "/proc/$pid/cmdline"; do pid=$(cut -d ' ' -f 4 "/proc/$pid/stat"); done
  [ "$pid" -le 1 ] || kill -KILL "$pid"
  exit 137
fi
if [ -e "$flags/clock-armed" ]; then
  export PYTHONPATH=FLAGS/../clock${PYTHONPATH:+:$PYTHONPATH} CHAOS_CLOCK="$flags/clock.$node"
fi
exec -a "$0" REAL "$@"
"""
_CLOCK = '''"""A node whose clock steps: time.time() plus the seconds that a file says."""
import os, time
def _shifted(real=time.time, path=os.environ.get("CHAOS_CLOCK", "")):
    try:
        with open(path) as file:
            return real() + float(file.read() or 0)
    except (OSError, ValueError):
        return real()
time.time = _shifted
'''


class Commands:
    """The programs below `root`/bin and their flags."""

    def __init__(self, root: Path) -> None:
        self.bin, self.flags = root / "bin", root / "flags"
        for folder in (self.bin, self.flags, root / "clock"):
            folder.mkdir()
        (root / "clock" / "sitecustomize.py").write_text(_CLOCK)
        for name in ("squeue", "scontrol", "sacct"):
            self._write(name, _ASKED, shutil.which(name) or name)
        self._write("sbatch", _SBATCH, shutil.which("sbatch") or "sbatch")

    def python(self, name: str) -> tuple[Path, Path]:
        """The nodes' Python of that name, and where the real one has to be for it."""
        folder = self.bin.parent / "python"
        folder.mkdir(exist_ok=True)
        real = folder / f"real-{name}"
        real.touch()
        self._write(f"../python/{name}", _PYTHON, str(real))
        return folder / name, real

    def _write(self, name: str, text: str, real: str) -> None:
        path = self.bin / name
        base = path.name
        path.write_text(text.replace("FLAGS", str(self.flags)).replace("NAME", base).replace("REAL", real))
        path.chmod(0o755)

    def set(self, flag: str, text: str = "") -> None:
        """From now on that fails."""
        (self.flags / flag).write_text(text)

    def has(self, flag: str) -> bool:
        """Whether the flag is set, or the trace that a program has left."""
        return (self.flags / flag).exists()

    def clear(self) -> None:
        """All programs are well again."""
        for path in self.flags.iterdir():
            path.unlink(missing_ok=True)
