"""A .sqsh, the file of an image that enroot has imported: is it one, asked through bash."""

from __future__ import annotations

from automodel_launch.remote.probes import Result

MAGIC = "hsqs"  # the first bytes of a squashfs file; at 40 stands how long it is, as 8 bytes (squashfs_fs.h of Linux)


def question(word: str) -> str:
    """Bash that prints what `fault` reads; `word` is the path, quoted for bash."""
    look = 'head -c 4 "$f" && echo && head -c 48 "$f" | tail -c +41 | od -A n -t u8 && stat -L -c %s "$f"'
    return f'f={word}; [ -e "$f" ] || exit 61; [ -d "$f" ] && exit 62; [ -s "$f" ] || exit 63; {look}'


def fault(answer: Result) -> str | None:
    """What is wrong with the file, or None."""
    known = {61: "no such file", 62: "is a directory", 63: "is empty"}.get(answer.code)
    if known or answer.code:
        return known or answer.brief
    magic, *sizes = answer.text.split()
    if magic != MAGIC:
        return "is no squashfs file"
    wanted, present = (int(size) for size in sizes) if len(sizes) == 2 else (1, 0)
    return f"is cut short: {present:,} of {wanted:,} bytes" if present < wanted else None
