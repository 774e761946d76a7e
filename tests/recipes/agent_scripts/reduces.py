"""`reduces.py OUT`: the sum of all ranks' numbers, over gloo."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
number = torch.tensor([10 ** dist.get_rank()])
dist.all_reduce(number)
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK")
Path(f"{sys.argv[1]}-{dist.get_rank()}").write_text(
    " ".join([str(number.item()), *(os.environ[name] for name in names)])
)
dist.destroy_process_group()
