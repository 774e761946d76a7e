"""Bash on the machine where the job's Python is: a directory of its own, the files in it, one process, nothing left."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass, field

from automodel_launch import contract
from automodel_launch.executors.job_python import JobPython

REQUEST = "request.json"
GRACE_S = 8  # beyond its own limit, in which the process ends by itself and says why
NO_SCRATCH, LATE = 91, 92  # exit codes of our own

# What may outlive the launcher, and the connection to it, has its own clock. -m: a process group of its own, so that
# what the Python has started ends with it; bash tells of each such group on its own stderr. Where the connection is
# broken, every word there would be a SIGPIPE, and the end of the script before its time.
_COMMON = """\
name={name} scratch={scratch}
end() {{
  trap '' HUP INT TERM
  local group
  for group in $(cat "$scratch/groups" 2>/dev/null); do
    kill -TERM -- "-$group" 2>/dev/null || continue
    for _ in {{1..20}}; do kill -0 -- "-$group" 2>/dev/null || break; sleep 0.05; done
    kill -KILL -- "-$group" 2>/dev/null
  done
  {{ {stop}; }} >/dev/null 2>&1
  rm -rf -- "$scratch"
}}
"""
_RUN = """\
trap '' PIPE
umask 077
mkdir -p -- {parent} && mkdir -- "$scratch" || exit 91
trap end EXIT
trap 'exit 143' HUP INT TERM
sh -c 'echo $PPID' > "$scratch/shell"  # over SSH this is a subshell, whose id is not $$
tar -x -m -o -C "$scratch" -f - || exit 91
export TMPDIR="$scratch" PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false
{unset}
cd "$scratch" || exit 91
exec 4>&2 2>/dev/null
set -m
{{ {start} {program}; }} < {request} > out 2> err &
child=$!
{{ sleep {limit}; touch "$scratch/late"; kill -TERM -- "-$child"; sleep 3; kill -KILL -- "-$child"; }} >/dev/null 2>&1 &
clock=$!
echo "$child $clock" > "$scratch/groups"
wait "$child"; code=$?
[ ! -e late ] || code=92
tail -n 1 out
tail -c 4000 err >&4
exit "$code"
"""
_STOP = """\
[ -d "$scratch" ] || exit 0
shell=$(cat "$scratch/shell" 2>/dev/null)
[ -n "$shell" ] && kill -TERM "$shell" 2>/dev/null
for _ in {1..60}; do kill -0 "$shell" 2>/dev/null || break; sleep 0.1; done
[ -d "$scratch" ] || exit 0
end
"""


@dataclass(frozen=True)
class Script:
    """One try. Its directory's name is drawn by the launcher, so that the launcher can find it again."""

    python: JobPython
    name: str = field(default_factory=lambda: f"launch-rehearsal-{secrets.token_hex(6)}")

    @property
    def scratch(self) -> str:
        """The directory."""
        return f"{self.python.parent}/{self.name}"

    @property
    def code(self) -> str:
        """Where what travels lies in it, as in a job's directory."""
        return f"{self.scratch}/{contract.CODE}"

    def run(self, program: str, seconds: float, unset: tuple[str, ...] = ()) -> str:
        """Start `program`, a path below the scratch directory; a tar on standard input holds all files.

        The last line of its standard output comes back, and the end of its standard error. `unset`: names of variables.
        """
        names = " ".join(map(shlex.quote, unset))
        return self._common() + _RUN.format(
            parent=shlex.quote(self.python.parent),
            unset=f"unset {names}" if names else ":",
            start=self.python.start,
            program=f'"$scratch"/{shlex.quote(program)}',
            request=REQUEST,
            limit=int(seconds + self.python.waits_s + GRACE_S),
        )

    def stop(self) -> str:
        """End it, wherever it is, and remove what is left. Where nothing runs, nothing happens."""
        return self._common() + _STOP

    def _common(self) -> str:
        return _COMMON.format(
            name=shlex.quote(self.name), scratch=shlex.quote(self.scratch), stop=self.python.stop or ":"
        )
