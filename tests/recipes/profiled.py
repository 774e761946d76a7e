# /// script
# requires-python = ">=3.10"
#
# [tool.runspec]
# schema = "1"
# name = "profiled"
# docs = "Two ranks that wait for each other in an all-reduce; rank 1 is slow"
# code = ["pretrain_lib"]
# [tool.runspec.run]
# launch = "torchrun"
# [tool.runspec.config]
# dir = "configs/profiled"
# default = "default"
# ///
"""A training's loop as far as profiles go: the message between steps, and steps with a collective (tests/launch)."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
import yaml
from pretrain_lib import profiling, requests

dist.init_process_group("gloo")
config = yaml.safe_load(Path(sys.argv[2]).read_text())
rank, steps, step = dist.get_rank(), config["steps"], 0


def gather(number: int) -> list[int]:
    """As AutoModel's all_gather_item."""
    found = [torch.zeros(1, dtype=torch.int32) for _ in range(dist.get_world_size())]
    dist.all_gather(found, torch.tensor([number], dtype=torch.int32))
    return [int(one) for one in found]


job_dir = os.environ["LAUNCH_JOB_DIR"]
profiles = profiling.Profiles(job_dir, lambda: steps)
received = requests.signals_received(SimpleNamespace(_signal_received=False), None, gather, lambda: step, profiles)
profiles.hear()
for step in range(steps):
    profiles.begins(step)
    torch.ones(64, 64) @ torch.ones(64, 64)
    time.sleep(0.15 if rank == 1 else 0.0)
    dist.all_reduce(torch.ones(4))
    profiles.ended(step)
    print(f"step {step} | loss 1.0", flush=True)
    if Path(job_dir, "enough").exists() and dist.get_world_size() == sum(gather(1)):
        break
    received()
profiles.close()
