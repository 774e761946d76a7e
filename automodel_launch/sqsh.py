"""A .sqsh, the file of an image that enroot has imported: is it one, asked through bash."""

from __future__ import annotations

from automodel_launch.questions import Answer

MAGIC = "hsqs"  # the first bytes of a squashfs file (Linux, fs/squashfs/squashfs_fs.h)


def question(word: str) -> str:
    """Bash that prints what `fault` reads; `word` is the path, quoted for bash."""
    return f'f={word}; [ -e "$f" ] || exit 61; [ -d "$f" ] && exit 62; [ -s "$f" ] || exit 63; head -c 4 "$f"'


def fault(answer: Answer) -> str | None:
    """What is wrong with the file, or None."""
    known = {61: "no such file", 62: "is a directory", 63: "is empty"}.get(answer.code)
    if known or answer.code:
        return known or answer.brief
    return None if answer.text == MAGIC else "is no squashfs file"
