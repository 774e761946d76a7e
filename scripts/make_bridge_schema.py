"""Writes automodel_launch/backends/megatron_bridge/schema/bridge-VERSION.json from an installed Megatron-Bridge.

    .venv-bridge/bin/python scripts/make_bridge_schema.py [--check]

The launcher never imports Megatron-Bridge: this file is what it knows of its recipes and of the sections that a recipe
fills. Run it where requirements/bridge.txt is installed (scripts/setup.sh --bridge); it needs neither a GPU nor the
hub. `--check` writes nothing and exits with 1 where the file is not what would be written.
automodel_launch/backends/megatron_bridge/schema/__init__.py says what the file holds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "recipes")]

from schema_lib import written  # noqa: E402  # needs the path

_VERSIONS = {"bridge": "megatron-bridge", "core": "megatron-core", "torch": "torch", "transformers": "transformers"}


def make() -> dict[str, Any]:
    """The schema of the installed Megatron-Bridge, as JSON data."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it
    from bridge_lib import stand_ins

    stand_ins.import_megatron()
    from schema_lib import bridge_recipes, bridge_sections

    recipes = bridge_recipes.recipes()
    named = {entry[key] for entry in recipes.values() for key in ("model", "dataset", "peft") if key in entry}
    return {
        **{name: written.version(distribution) for name, distribution in _VERSIONS.items()},
        "sections": bridge_sections.container(),
        "classes": bridge_sections.classes(named),
        "values": bridge_sections.values(),
        "step_functions": bridge_sections.step_functions(),
        "recipes": recipes,
    }


if __name__ == "__main__":
    sys.exit(written.main(__doc__ or "", make, "megatron_bridge", "bridge"))
