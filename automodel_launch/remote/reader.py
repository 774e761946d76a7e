"""Reading many files behind a shell in one go: the scripts that do it there, what they read, and what they answer.

The files come through standard input, `OFFSET PATH` and a NUL each. The answer has for each a line "size count" and
that many bytes, or "- 0".
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

FEW = 8  # so many files cost less in bash than a start of Python does

# For any Python 3.5 or later.
_PYTHON = """
import os, stat, sys
limit, out = int(sys.argv[1]), sys.stdout.buffer
for wanted in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    offset, _, path = wanted.partition(b" ")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = int(offset)
            file.seek(start if start >= 0 else max(0, size + start))
            found = file.read(max(0, min(limit, size - file.tell())))
    except OSError:
        out.write(b"- 0\\n")
        continue
    out.write(b"%d %d\\n" % (size, len(found)))
    out.write(found)
"""
# Where a file has shrunk in between, zeros fill up what is missing, so that the next file's line is found.
_BASH = """\
r() {{
  local s o=$2 n
  if ! {{ [ -f "$1" ] && [ -r "$1" ] && s=$(stat -L -c %s -- "$1" 2>/dev/null); }}; then echo '- 0'; return; fi
  [ "$o" -ge 0 ] || o=$((s + o > 0 ? s + o : 0))
  n=$((s - o < {limit} ? s - o : {limit}))
  [ "$n" -gt 0 ] || {{ echo "$s 0"; return; }}
  echo "$s $n"
  {{ tail -c "+$((o + 1))" -- "$1" | head -c "$n"; head -c "$n" /dev/zero; }} 2>/dev/null | head -c "$n"
}}
in_bash() {{ while IFS= read -r -d '' wanted; do r "${{wanted#* }}" "${{wanted%% *}}"; done; }}
"""


def script(count: int, limit: int) -> str:
    """Bash that reads at most `limit` bytes of each of `count` files. A Python that is missing, or does not work, has
    read nothing."""
    python = f"python3 -I -S -c {shlex.quote(_PYTHON)} {limit} || " if count > FEW else ""
    return f"{_BASH.format(limit=limit)}{python}in_bash\n"


def listed(wanted: Sequence[tuple[str, int]]) -> bytes:
    """What it reads from standard input: paths, and offsets in them."""
    return b"".join(f"{offset} {path}\0".encode("utf-8", "surrogateescape") for path, offset in wanted)


def unpack(out: bytes, count: int) -> list[tuple[bytes, int] | None]:
    """Its answer: for each file its bytes and its size, None where there is none.

    Raises:
        ValueError: the answer is no answer, or not complete.
    """
    reads: list[tuple[bytes, int] | None] = []
    start = 0
    for _ in range(count):
        end = out.index(b"\n", start)
        size, length = out[start:end].split()
        start = end + 1 + int(length)
        if start > len(out):
            raise ValueError("cut short")
        reads.append(None if size == b"-" else (out[end + 1 : start], int(size)))
    return reads
