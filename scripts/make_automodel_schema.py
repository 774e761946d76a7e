"""Writes automodel_launch/backends/automodel/schema/automodel-VERSION.json from the AutoModel that is installed.

    python scripts/make_automodel_schema.py [--check]

The launcher never imports AutoModel: this file is what it knows of AutoModel's configs. Run it where
requirements/train.txt is installed (scripts/setup.sh), with no more: a package that AutoModel can use if it is there
may change a signature. `--check` writes nothing and exits with 1 where the file is not what would be written.
tests/backends/automodel/test_schema_file.py does the same.
automodel_launch/backends/automodel/schema/__init__.py says what the file holds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from schema_lib import written  # needs the path


def make() -> dict[str, Any]:
    """The schema of the installed AutoModel, as JSON data."""
    import nemo_automodel
    from nemo_automodel.cli.utils import _discover_recipe_classes
    from schema_lib import model_configs, sections, targets, values

    root = Path(nemo_automodel.__file__).parent
    modules = targets.module_names(root)
    signatures, aliases = targets.targets(modules)
    return {
        **{name: written.version(f"nemo-{name}" if name == "automodel" else name) for name in _VERSIONS},
        "recipes": dict(sorted(_discover_recipe_classes().items())),
        "top": sections.top_level(root),
        "sections": sections.sections(root),
        "distributed": sections.distributed(),
        "strategies": sections.strategies(),
        "values": values.values(),
        "dtypes": values.dtypes(),
        "compile_options": values.compile_options(),
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


_VERSIONS = ("automodel", "torch", "transformers")


if __name__ == "__main__":
    sys.exit(written.main(__doc__ or "", make, "automodel", "automodel"))
