"""Writes automodel_launch/backends/automodel/schema/automodel-VERSION.json from the AutoModel that is installed.

    python scripts/make_automodel_schema.py [--check]

The launcher never imports AutoModel: this file is what it knows of AutoModel's configs. Run it where
requirements/train.txt is installed (scripts/setup.sh), with no more: a package that AutoModel can use if it is there
may change a signature. `--check` writes nothing and exits with 1 where the file is not what would be written.
tests/backends/automodel/test_schema_file.py does the same.
automodel_launch/backends/automodel/schema/__init__.py says what the file holds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

FOLDER = Path(__file__).resolve().parent.parent / "automodel_launch" / "backends" / "automodel" / "schema"


def main(argv: list[str] | None = None) -> int:
    """Write the schema, or compare it; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is another")
    check = parser.parse_args(argv).check
    schema = make()
    path, text = FOLDER / f"automodel-{schema['automodel']}.json", dump(schema)
    if check:
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        print(f"{path}: {'as generated' if same else 'is not what this script writes now'}", file=sys.stderr)
        return 0 if same else 1
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(text):,} bytes", file=sys.stderr)
    return 0


def make() -> dict[str, Any]:
    """The schema of the installed AutoModel, as JSON data."""
    import nemo_automodel
    from nemo_automodel.cli.utils import _discover_recipe_classes
    from schema_lib import model_configs, sections, targets, values

    root = Path(nemo_automodel.__file__).parent
    modules = targets.module_names(root)
    signatures, aliases = targets.targets(modules)
    return {
        **{name: _version(f"nemo-{name}" if name == "automodel" else name) for name in _VERSIONS},
        "recipes": dict(sorted(_discover_recipe_classes().items())),
        "top": sections.top_level(root),
        "sections": sections.sections(root),
        "distributed": sections.distributed(),
        "strategies": sections.strategies(),
        "values": values.values(),
        "dtypes": values.dtypes(),
        "datasets": dict(sorted(sections.load("nemo_automodel.components.datasets.loader:_DATASET_CONFIGS").items())),
        "losses": sorted(sections.load("nemo_automodel.components.loss.loss:LOSS_CONFIG_REGISTRY")),
        "dion": {
            name: f"{config.__module__}.{config.__qualname__}"
            for name, config in sections.load("nemo_automodel.components.optim.optimizer:_DION_CONFIG_FOR").items()
        },
        "configs": {"reads": model_configs.shared(), "ignores": model_configs.ignored()},
        "targets": dict(sorted(signatures.items())),
        "aliases": dict(sorted(aliases.items())),
        "modules": modules,
    }


def _version(distribution: str) -> str:
    """Without the build's name: 2.13.0+cpu is 2.13.0."""
    return importlib.metadata.version(distribution).partition("+")[0]


_VERSIONS = ("automodel", "torch", "transformers")


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


if __name__ == "__main__":
    sys.exit(main())
