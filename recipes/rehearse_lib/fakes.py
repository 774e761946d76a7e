"""Tensors without storage where the weights take part, and process groups whose other ranks have what this one has.

Token ids, masks and counts stay real: they are small, and what is wrong with them is wrong in the job.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .failure import Fault

_REAL_ELEMENTS = 1 << 22  # a larger tensor is no batch of ids
_aten = torch.ops.aten
_c10d = torch.ops.c10d


class Fakes(FakeTensorMode):  # type: ignore[misc]
    """Fake where the weights take part; real where all inputs are.

    `spread` is the number of experts among which tokens are taken to be spread evenly: which ones a router would choose
    depends on values. `cuda`: the job has GPUs.
    """

    spread = 1
    cuda = True

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, done for real or on shapes alone."""
        kwargs = kwargs or {}
        if _all_real(args, kwargs):
            return func(*args, **kwargs)
        kwargs = _on_cpu(kwargs, self.cuda)
        if func is _aten.embedding.default:
            _check_ids(args[0], args[1])
        elif func is _aten.nll_loss_forward.default:
            _check_targets(args[0], args[1], args[4])
        try:
            if func is _aten._grouped_mm.default and args[0].dtype != torch.bfloat16:
                return self._grouped_mm(func, types, args, kwargs)
            return super().dispatch(func, types, args, kwargs)
        except DataDependentOutputException:
            return self._value(func, args)
        except DynamicOutputShapeException:
            bins = _bins(func, args, kwargs)
            if bins:  # ids of experts, of which there are as many as AutoModel asks bins for
                with self:
                    return torch.empty(bins, dtype=torch.int64)
            if func is not _aten.nonzero.default:
                raise
            with self:
                rows = max(1, args[0].numel() // self.spread)
                return torch.empty((rows, args[0].dim()), dtype=torch.int64)

    def _grouped_mm(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        # torch 2.13: the kernel for shapes knows bfloat16 only; the real ones take more.
        low = tuple(a.to(torch.bfloat16) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
        return super().dispatch(func, types, low, kwargs).to(args[0].dtype)

    @staticmethod
    def _value(func: Any, args: Any) -> Any:
        """What a value that nobody has is taken to be: finite, neither 0 nor true, and equal to its like."""
        if func is _aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return False if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1
        if func is _aten.is_nonzero.default:
            return False
        if func is _aten.equal.default:
            return True
        raise DataDependentOutputException(func)


def _bins(func: Any, args: Any, kwargs: Any) -> int:
    """The bins that a count of ids without weights asks for, 0 for any other operation."""
    if (
        func is not _aten.bincount.default
        or (len(args) > 1 and args[1] is not None)
        or kwargs.get("weights") is not None
    ):
        return 0
    return int(args[2] if len(args) > 2 else kwargs.get("minlength", 0))


def _on_cpu(kwargs: Any, cuda: bool) -> Any:
    """A tensor that code asks a GPU for is made where all others of a rehearsal are.

    AutoModel 0.7.0, models/glm4_moe/model.py and others: buffers are made on cuda:N, whatever device the weights have.

    Raises:
        AssertionError: the job has no GPU; torch raises the same.
    """
    device = kwargs.get("device")
    if device is not None and torch.device(device).type == "cuda":
        if not cuda:
            raise AssertionError("Torch not compiled with CUDA enabled: this code wants a GPU, and the job has none")
        return {**kwargs, "device": torch.device("cpu")}
    return kwargs


def _all_real(args: Any, kwargs: Any) -> bool:
    if isinstance(kwargs.get("device"), torch.device):
        return False  # it makes a tensor, whose size may be anything
    tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)]
    return bool(tensors) and all(
        not isinstance(tensor, FakeTensor)
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.numel() < _REAL_ELEMENTS
        for tensor in tensors
    )


def _check_ids(table: Any, ids: Any) -> None:
    """What a kernel for shapes does not see: a real id against the length of a table that is fake."""
    if type(ids) is not torch.Tensor or ids.device.type != "cpu" or not ids.numel():
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= table.shape[0]:
        wrong = high if high >= table.shape[0] else low
        text = f"index out of range: id {wrong} is outside an embedding of {table.shape[0]} rows (vocab_size)"
        raise Fault("IndexError", text, "model")


def _check_targets(scores: Any, targets: Any, ignored: int) -> None:
    """The same for labels: each is one of the model's outputs, or what the loss ignores."""
    if type(targets) is not torch.Tensor or targets.device.type != "cpu":
        return
    wrong = targets[(targets != ignored) & ((targets < 0) | (targets >= scores.shape[-1]))]
    if wrong.numel():
        text = f"Target {int(wrong[0])} is out of bounds: the model has {scores.shape[-1]} outputs"
        raise Fault("IndexError", text, "model")


class Peers(TorchDispatchMode):  # type: ignore[misc]
    """After a collective, the outputs are as if all other ranks had what this one has; the fake backend leaves them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        done = func(*args, **(kwargs or {}))
        if func is _c10d.allgather_.default:
            for outputs, given in zip(args[0], args[1], strict=False):
                for output in outputs:
                    output.copy_(given)
        elif func is _c10d._allgather_base_.default and args[0].device.type == "cpu":
            if args[1].dim():
                args[0].view(-1, *args[1].shape).copy_(args[1])
            else:
                args[0].fill_(args[1])
        return done
