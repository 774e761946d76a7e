# /// script
# requires-python = ">=3.10"
# dependencies = ["torch", "pyyaml"]
#
# [tool.runspec]
# schema = "1"
# name = "gpu-check"
# docs = "Look at a job's nodes: GPUs, all-reduce, paths, disks, clocks; `launch.py doctor --gpu PROFILE` judges it"
# backend = "none"
# code = ["gpu_check_lib"]
# image = "nvcr.io/nvidia/nemo-automodel:26.04"
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/gpu-check"
# default = "default"
# [tool.runspec.resources]
# nodes = 1
# ///
"""Looks at the node that it runs on and, together with the other nodes of the job, at what lies between them.

    gpu_check.py --config FILE.yaml

One process a node, which forks one for each GPU. What it finds is written to gpu-check/node-K.json in the job's
directory (LAUNCH_JOB_DIR), after each phase, so that a node which dies half-way has left what it knew. Nothing is
judged here, and the exit code is 0 whatever is found: automodel_launch/doctor/gpu/ does that.

    local     nvidia-smi, paths and free space          needs nothing of anybody
    node      load on the GPUs, all-reduce among them     needs torch
    meeting   which nodes are there, their clocks         needs node 0, for `meet_s` at most
    pairs     all-reduce of every pair of nodes           ends `total_s` after the start at the latest
    done

No phase waits without a limit: every wait has a limit, and what does not answer is left behind.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import contract
from gpu_check_lib import phases
from gpu_check_lib.settings import SettingsError, load


def main(argv: list[str] | None = None) -> int:
    """Look, and write down what was seen; 2 where the configuration cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.yaml", help="the resolved configuration")
    try:
        settings = load(parser.parse_args(argv).config)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return contract.CANNOT_BE_USED
    phases.run(settings)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an orderly end would wait for children that hang in the kernel
