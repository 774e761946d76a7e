"""Locks of torch's extension builds whose process is gone: whoever needs the extension waits for ever, in silence.

torch's lock is a file that is there or not, and a process that is killed while it compiles leaves it. Jobs started from
here remove them or do without; another program of the user does not.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from automodel_launch import backends
from automodel_launch.doctor.diagnosis import Line

_SHARED_MIN = 30  # another node may compile there, and is not seen from here
_LOCAL_MIN = 2
_OTHERS = '"${TORCH_EXTENSIONS_DIR:-$HOME/.cache/torch_extensions}"'


def question() -> str:
    """A script for bash: a line a lock."""
    local = [framework.builds for framework in backends.frameworks().values() if framework.builds]
    places = [(_OTHERS, _SHARED_MIN), *((place, _LOCAL_MIN) for place in local)]
    found = "; ".join(f"find {place} -maxdepth 3 -type f -name lock -mmin +{age} 2>/dev/null" for place, age in places)
    is_open = 'ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -e " $lock"'
    is_open = (
        f'if [ -e /proc/self/stat ]; then {is_open}; else lsof -- "$lock" >/dev/null 2>&1; [ $? != 1 ]; fi'  # macOS
    )
    return f'{{ {found}; }} | while IFS= read -r lock; do {{ {is_open}; }} || printf "%s\\n" "$lock"; done; true'


def lines(text: str) -> Iterator[Line]:
    """What was found, and what mends it; nothing where there is none."""
    locks = [line for line in text.splitlines() if line.startswith("/") and line.endswith("/lock")]  # else bash's talk
    if locks:
        detail = f"a process that was killed while it compiled has left {', '.join(locks)}: who compiles there waits"
        yield Line("warn", "locks", detail, f"rm {' '.join(map(shlex.quote, locks))}")
