#!/usr/bin/env python3
"""Writes docs/known-errors.md from the table of recipes/node_agent_lib/known/.

python scripts/make_known_errors.py            # write it
python scripts/make_known_errors.py --check    # exit code 1 where it is not what the table says
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "recipes"))

from node_agent_lib import known  # noqa: E402

PAGE = ROOT / "docs" / "known-errors.md"
HEAD = """# Known errors

What the first error of a job means, and what to do. `status`, the closing block of an attached run and exit.json
(`known`) say so of a job that has failed by one of these. Made from `recipes/node_agent_lib/known/` by
`scripts/make_known_errors.py`; [reliability.md](reliability.md#known-errors) tells how the first error is found.

- **role**: a `root` begins things; `either` may follow from another error, and gives way to one of the same moment; a
  `cascade` only says that something else has failed.
- **again**: what a further attempt with the same code, configuration and data comes to. Only `cannot help` ends a
  chain, and only before the job has taken its first step.
- **node**: `bad` where the machine that says it is kept from further attempts for a day (`launch.py nodes PROFILE`).
"""
COLUMNS = ("id", "what it means", "what to do", "role", "again", "node")


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_group(title, group) for title, group in known.GROUPS)


def _group(title: str, group: tuple[known.Signature, ...]) -> str:
    rows: list[tuple[str, ...]] = [COLUMNS, ("---",) * len(COLUMNS)]
    rows += [(f"`{s.id}`", s.cause, s.todo, s.role, s.restart, "bad" if s.blames_node else "") for s in group]
    lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"\n## {title[0].upper()}{title[1:]}\n\n" + "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Write the page, or compare it."""
    if argv == ["--check"]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
