"""The bytes of all storages that are alive on a rank, by what they are for; real operations, no formula.

torch 2.13's own MemTracker fails at the second micro-batch of FSDP2, so this one counts storages by itself: one is
counted when an operation returns it first, and until it is freed or resized.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WEIGHTS, GRADIENTS, OPTIMIZER, ACTIVATIONS = "weights", "gradients", "optimizer", "activations"
KINDS = (WEIGHTS, GRADIENTS, OPTIMIZER, ACTIVATIONS)
PEAK = "peak"


class Tracker(TorchDispatchMode):  # type: ignore[misc]
    """Counts while it is entered.

    `at_peak` has the bytes of each of KINDS at the moment when their sum was largest, `peak`. What the forward pass
    makes counts as activations, what the backward pass makes as gradients, what an optimizer's step makes as optimizer.
    """

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.mode = mode
        self.now = dict.fromkeys(KINDS, 0)
        self.at_peak = dict(self.now)
        self.peak = 0
        self._known: dict[int, list[Any]] = {}
        self._in_optimizer = False
        self._undo: list[Callable[[], object]] = []

    def count_model(self, parts: Iterable[Any]) -> None:
        """Count what the model's parts hold already."""
        for part in parts:
            for tensor in (*part.parameters(), *part.buffers()):
                self.track(tensor, WEIGHTS)

    def read(self) -> dict[str, int]:
        """Bytes at the peak, of each kind and in all."""
        return {**self.at_peak, PEAK: self.peak}

    def phase(self) -> str:
        """What a tensor that is made now is for."""
        if self._in_optimizer:
            return OPTIMIZER
        return GRADIENTS if torch._C._current_graph_task_id() != -1 else ACTIVATIONS

    def track(self, tensor: Any, kind: str) -> None:
        """Count a tensor's storage, unless it is counted."""
        if isinstance(tensor, DTensor):
            tensor = tensor._local_tensor
        if hasattr(tensor, "wait") and hasattr(tensor, "elem"):
            tensor = tensor.elem  # of a collective that is under way
        if tensor.device.type == "meta" and not isinstance(tensor, FakeTensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known and self._known[key][2]() is not None:
            return
        entry = [kind, storage.nbytes(), weakref.ref(storage, lambda _: self._free(key))]
        self._known[key] = entry
        self._add(kind, entry[1])

    def _free(self, key: int) -> None:
        entry = self._known.pop(key, None)
        if entry is not None:
            self._add(entry[0], -entry[1])

    def _add(self, kind: str, size: int) -> None:
        self.now[kind] += size
        total = sum(self.now.values())
        if total > self.peak:
            self.peak, self.at_peak = total, dict(self.now)

    def __enter__(self) -> Any:
        before = register_optimizer_step_pre_hook(lambda *_: setattr(self, "_in_optimizer", True))
        after = register_optimizer_step_post_hook(lambda *_: setattr(self, "_in_optimizer", False))
        resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:
            """FSDP2 frees a gathered weight by resizing its storage, which no dispatch sees."""
            done = resize(storage, size)
            entry = self._known.get(storage._cdata)
            if entry is not None:
                self._add(entry[0], size - entry[1])
                entry[1] = size
            return done

        torch.UntypedStorage.resize_ = resize_
        self._undo = [before.remove, after.remove, lambda: setattr(torch.UntypedStorage, "resize_", resize)]
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        for undo in self._undo:
            undo()
        return super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, and the storages that it returns."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        waits = func is torch.ops._c10d_functional.wait_tensor.default
        done = args[0] if waits else func(*args, **(kwargs or {}))
        if active_fake_mode() is self.mode:
            kind = self.phase()
            for tensor in tree_leaves(done):
                if isinstance(tensor, torch.Tensor):
                    self.track(tensor, kind)
        return done
