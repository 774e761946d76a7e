"""What a rank does when it is told to. Each task is a function that takes the rank's number on this node and arguments.

Runs in a process of its own (ranks.py), which is killed when it takes too long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

MIB = 2**20
_MEASURE_S = 3.0  # for one all-reduce after another, so that a slow network costs no more than a fast one
_MATRIX = 8192  # of half-precision numbers: 128 MiB, large enough to load any GPU


def probe(rank: int) -> dict[str, Any]:
    """What torch is, and how many GPUs it sees."""
    return {"torch": torch.__version__, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}


def load(rank: int, seconds: float) -> dict[str, Any]:
    """Matrix products on this rank's GPU; the speed in TFLOP/s (2 n^3 a product)."""
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    one = torch.randn(_MATRIX, _MATRIX, dtype=torch.float16, device=device)
    other, product = torch.randn_like(one), torch.empty_like(one)
    torch.matmul(one, other, out=product)
    torch.cuda.synchronize(device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(4):
            torch.matmul(one, other, out=product)
        torch.cuda.synchronize(device)
        count += 4
    took = time.perf_counter() - began
    return {"tflops": 2 * _MATRIX**3 * count / took / 1e12, "finite": bool(torch.isfinite(product).all())}


def all_reduce(
    local_rank: int,
    backend: str,
    store: tuple[str, int],
    name: str,
    rank: int,
    world: int,
    megabytes: int,
    iterations: int,
    limit_s: float,
) -> dict[str, Any]:
    """Mean time of an all-reduce of `megabytes` MiB (float32) in a group of its own, made and left here.

    {"seconds": time of one, "bytes", "right": was the sum right}. The group meets at `store` under `name`, so it needs
    nobody but its own ranks: torch's new_group() would need every rank of the job, also those that hang.
    """
    own = dist.PrefixStore(name, dist.TCPStore(store[0], store[1], is_master=False, timeout=timedelta(seconds=limit_s)))
    gpu = backend == "nccl"
    device = torch.device("cuda", local_rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=timedelta(seconds=limit_s))
    try:
        return _timed(device, world, megabytes * MIB, iterations)
    finally:
        dist.destroy_process_group()


def _timed(device: torch.device, world: int, size: int, iterations: int) -> dict[str, Any]:
    tensor = torch.ones(MIB // 4, device=device)
    dist.all_reduce(tensor)  # connects
    right = bool((tensor == world).all())
    tensor = torch.zeros(size // 4, device=device)
    _sync(device)
    first = torch.tensor([_seconds(tensor, device, 1)], device=device)
    dist.all_reduce(first, op=dist.ReduceOp.MAX)  # all ranks have to do the same number
    count = max(1, min(iterations, int(_MEASURE_S / max(float(first), 1e-6))))
    return {"seconds": _seconds(tensor, device, count) / count, "bytes": size, "right": right}


def _seconds(tensor: torch.Tensor, device: torch.device, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        dist.all_reduce(tensor)
    _sync(device)
    return time.perf_counter() - began


def _sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"probe": probe, "load": load, "all_reduce": all_reduce}


def quieten() -> None:
    """A collective that fails is told by its exception; a dump of NCCL's flight recorder would only take time."""
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "0")
