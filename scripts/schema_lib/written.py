"""The data file of a schema: written, or compared with what would be written."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BACKENDS = Path(__file__).resolve().parents[2] / "automodel_launch" / "backends"


def main(about: str, make: Callable[[], dict[str, Any]], folder: str, name: str) -> int:
    """The command line of a script that makes a schema; `name` is that of the file, and of the version in it."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is another")
    check = parser.parse_args().check
    gc.disable()  # it imports thousands of modules, and ends
    schema = make()
    path, text = BACKENDS / folder / "schema" / f"{name}-{schema[name]}.json", dump(schema)
    if check:
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        print(f"{path}: {'as generated' if same else 'is not what this script writes now'}", file=sys.stderr)
        return 0 if same else 1
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(schema['recipes'])} recipes, {len(text):,} bytes", file=sys.stderr)
    return 0


def version(distribution: str) -> str:
    """Without the build's name: 2.13.0+cpu is 2.13.0."""
    return importlib.metadata.version(distribution).partition("+")[0]


def dump(schema: dict[str, Any]) -> str:
    """JSON with a line an entry, so that a new release shows as a readable diff."""
    parts = []
    for key, value in schema.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            parts.append(f' "{key}": {{\n{lines}\n }}')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
