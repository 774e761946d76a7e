"""Process groups of the job's full size, in one process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def apply(node: Any) -> None:
    """Have every group be a fake one, and a sum over ranks as if all of them had what this one has."""
    node.set_by_dotted("dist_env.backend", "fake")
    _main_group()
    _other_groups()
    _sums()
    _no_gradient_sync()


def _no_gradient_sync() -> None:
    # torch 2.13: DDP's reducer waits for its peers' gradients; without it, it only computes.
    torch.nn.parallel.DistributedDataParallel.require_backward_grad_sync = property(
        lambda module: False, lambda module, value: None
    )


def _main_group() -> None:
    # AutoModel 0.7.0, init_utils.py:136: a job of one process takes gloo whatever the backend says, and gloo opens a
    # socket.
    init = dist.init_process_group

    def init_process_group(*args: Any, **kwargs: Any) -> Any:
        kwargs.update(backend="fake", store=None)
        return init(*args, **kwargs)

    dist.init_process_group = init_process_group


def _other_groups() -> None:
    # AutoModel 0.7.0, checkpointing.py:475 and others: groups of gloo beside the main one.
    new_group = dist.new_group

    def fake_group(*args: Any, **kwargs: Any) -> Any:
        kwargs["backend"] = "fake"
        return new_group(*args, **kwargs)

    dist.new_group = fake_group


def _sums() -> None:
    # torch 2.13: the fake backend leaves a tensor as it was. AutoModel 0.7.0, tp_replicas.py:366, counts ranks so.
    all_reduce = dist.all_reduce

    def summed(tensor: Any, op: Any = dist.ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
        work = all_reduce(tensor, op, group, async_op)
        if op == dist.ReduceOp.SUM and type(tensor) is torch.Tensor:
            tensor.mul_(dist.get_world_size(group))
        return work

    dist.all_reduce = summed
