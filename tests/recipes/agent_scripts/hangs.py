"""`hangs.py DIRECTORY STEPS HOW`: logs STEPS steps as AutoModel does, a tenth of a second each, and then never again.

Where there are several ranks, rank 1 stays away from the next collective, and all others wait in it. What stays away
sleeps (HOW sleeps), or is stopped by a signal (HOW stops).
"""

import os
import signal
import sys
import time
from pathlib import Path


def wait_in_collective() -> None:
    """Every rank but 1 waits for rank 1."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    take_steps()
    if rank != "1":
        dist.all_reduce(torch.ones(1))
    stay_away()


def stay_away() -> None:
    """For ever, or until a signal lets it go on."""
    (directory / f"ready-{rank}").touch()
    if how == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)


def take_steps() -> None:
    """What rank 0's log shows of them."""
    for step in range(steps):
        time.sleep(0.1)
        print(f"2026-01-01 | INFO | root | step {step} | epoch 0 | loss 1.5 | lr 1.0e-04", file=sys.stderr, flush=True)


directory, steps, how, rank = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], os.environ["RANK"]
if os.environ["WORLD_SIZE"] != "1":
    wait_in_collective()
take_steps()
stay_away()
