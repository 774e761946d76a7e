"""A Python that has imported AutoModel, and forks the ranks of a run for each line of standard input: `start` asks it.

What needs torchrun itself is tested elsewhere (tests/launch/test_train_tiny.py, tests/slurm).
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

from pretrain_lib import collector  # noqa: E402

from tests.faults import ranks  # noqa: E402

LIMIT_S = 240.0


def run(request: dict[str, Any]) -> tuple[int | None, str]:
    """The exit code and the output of a run; one process alone is told nothing of ranks."""
    number, command, environ = request["processes"], request["command"], request["environ"]

    def main() -> None:
        sys.argv = command
        sys.path[:0] = [str(Path(command[0]).parent), *environ.get("PYTHONPATH", "").split(os.pathsep)]
        runpy.run_path(command[0], run_name="__main__")

    each = ranks.environs(number) if number > 1 else [{}]
    return ranks.run(main, Path.cwd(), [{**environ, **told} for told in each], LIMIT_S)


def warm_up() -> None:
    """Import what a training does."""
    with collector.off():
        import nemo_automodel.components.datasets.llm.megatron_dataset
        import nemo_automodel.components.models.llama.model
        import nemo_automodel.recipes.llm.train_ft  # noqa: F401


if __name__ == "__main__":
    warm_up()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
