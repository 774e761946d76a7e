"""Reading many files behind a shell in one go: the scripts that do it there, what they read, and what they answer.

The files come through standard input, `OFFSET PATH` and a NUL each. The answer has for each a line "size count" and
that many bytes, or "- 0".
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from automodel_launch.remote import read_files

FEW = 8  # so many files cost less in bash than a start of Python does
SLOWEST_S = 0.05  # a file takes in bash on a busy login node; 8 ms on a quiet one

# Behind the source of read_files.py, which is sent.
_TELL = """
def tell(budget, source, out):
    wanted = [entry.partition(b" ") for entry in source.read().split(b"\\0")[:-1]]
    for found in read_files([(path, int(offset)) for offset, _, path in wanted], budget):
        out.write(b"- 0\\n" if found is None else b"%d %d\\n" % (found[1], len(found[0])))
        out.write(found[0] if found else b"")

import sys
tell(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
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


def script(count: int, budget: int) -> str:
    """Bash that reads at most `budget` bytes of `count` files. A Python that is missing, or does not work, has read
    nothing; bash gives each file its share, whatever the others leave."""
    in_bash = f"{_BASH.format(limit=budget // max(1, count))}"
    if count <= FEW:
        return f"{in_bash}in_bash\n"
    source = Path(read_files.__file__).read_text(encoding="utf-8") + _TELL
    return f"{in_bash}python3 -I -S -c {shlex.quote(source)} {budget} || in_bash\n"


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
