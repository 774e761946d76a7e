# /// script
# requires-python = ">=3.10"
# dependencies = ["datatrove", "pyyaml"]
#
# [tool.runspec]
# schema = "1"
# name = "curate"
# docs = "Filter and deduplicate text with datatrove, for data-prep"
# backend = "curation"
# code = ["curate_lib", "data_prep_lib"]
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/curate"
# default = "tiny"
# optional = ["workers"]
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Runs stages of datatrove on one or many nodes: readers, filters, deduplication, writers. None of them is made here.

    python recipes/curate.py --config FILE.yaml

FILE is one resolved YAML; its keys are in curate_lib/config.py. A stage's tasks are shared out among the nodes (RANK of
WORLD_SIZE, as the node agent sets them), and the next stage begins when all are done. datatrove marks each finished
task in output_dir/.curate/STAGE/, so that the same command goes on after whatever ended it. Talk goes to stderr; to
stdout goes output_dir when all is done. `look` is the launcher's: what would be refused, as JSON.
Exit codes: 0 done, 1 a task failed, 2 configuration or data, 3 refused before work started, 130 or 143 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from data_prep_lib import entry


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    return entry.run(arguments, (__doc__ or "").partition("\n")[0], _work, _look, kept="finished tasks")


def _work(path: Path) -> Path:
    from curate_lib import running
    from curate_lib.config import load
    from data_prep_lib.nodes import of_environment

    return running.run(load(path), of_environment(os.environ))


def _look(path: Path, files: bool) -> int:
    from curate_lib import look

    return look.main(path, files)


# The guard matters: workers import this file again.
if __name__ == "__main__":
    sys.exit(main())
