"""Writes automodel_launch/backends/megatron_bridge/schema/bridge-VERSION.json from an installed Megatron-Bridge.

    .venv-bridge/bin/python scripts/make_bridge_schema.py [--check]

The launcher never imports Megatron-Bridge: this file is what it knows of its recipes and of the sections that a recipe
fills. Run it where requirements/bridge.txt is installed (scripts/setup.sh --bridge); it needs neither a GPU nor the
hub. `--check` writes nothing and exits with 1 where the file is not what would be written.
automodel_launch/backends/megatron_bridge/schema/__init__.py says what the file holds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "recipes")]

from make_automodel_schema import dump  # noqa: E402  # needs the path

FOLDER = HERE.parent / "automodel_launch" / "backends" / "megatron_bridge" / "schema"
_VERSIONS = {"bridge": "megatron-bridge", "core": "megatron-core", "torch": "torch", "transformers": "transformers"}


def main(argv: list[str] | None = None) -> int:
    """Write the schema, or compare it; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is another")
    check = parser.parse_args(argv).check
    schema = make()
    path, text = FOLDER / f"bridge-{schema['bridge']}.json", dump(schema)
    if check:
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        print(f"{path}: {'as generated' if same else 'is not what this script writes now'}", file=sys.stderr)
        return 0 if same else 1
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(schema['recipes'])} recipes, {len(text):,} bytes", file=sys.stderr)
    return 0


def make() -> dict[str, Any]:
    """The schema of the installed Megatron-Bridge, as JSON data."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it
    from bridge_lib import stand_ins

    stand_ins.import_megatron()
    from schema_lib import bridge_recipes, bridge_sections

    recipes = bridge_recipes.recipes()
    named = {entry[key] for entry in recipes.values() for key in ("model", "dataset", "peft") if key in entry}
    return {
        **{name: _version(distribution) for name, distribution in _VERSIONS.items()},
        "sections": bridge_sections.container(),
        "classes": bridge_sections.classes(named),
        "values": bridge_sections.values(),
        "step_functions": bridge_sections.step_functions(),
        "recipes": recipes,
    }


def _version(distribution: str) -> str:
    """Without the build's name: 2.13.0+cpu is 2.13.0."""
    return importlib.metadata.version(distribution).partition("+")[0]


if __name__ == "__main__":
    sys.exit(main())
