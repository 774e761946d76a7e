"""Stand-ins for packages that need a GPU and that Megatron-Bridge 0.3.1 imports without asking whether they are there.

Without Transformer Engine, Triton or megatron.energon `import megatron.bridge` fails, though nothing of them is used on
a CPU with local layers. A stand-in is given to the modules named below and to nobody else: all others, megatron.core
above all, ask with `try: import`, and have to see that the package is missing. Nothing is done for one that is there.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import types
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

from pretrain_lib import collector

IMPORTERS = {
    "transformer_engine": (
        "megatron.bridge.peft.lora",
        "megatron.bridge.peft.lora_layers",
        "megatron.bridge.models.gpt_full_te_layer_autocast_spec",
    ),
    "triton": (
        "megatron.core.inference.contexts.attention_context.triton.tensor_ops",
        "megatron.core.inference.contexts.fused_kv_append_kernel",
        "megatron.core.transformer.custom_layers.batch_invariant_kernels",
    ),
    "megatron.energon": (
        "megatron.bridge.data.energon.base_energon_datamodule",
        "megatron.bridge.recipes.qwen_vl.data.energon.task_encoder",
    ),
}
"""Package -> the modules of megatron-bridge 0.3.1 and megatron-core 0.16.1 that import it without a guard."""


_MODULES = ("megatron.bridge", "megatron.bridge.recipes", "megatron.bridge.training.pretrain")


class StandIn(types.ModuleType):
    """A module that has every name: classes where it begins with a capital, else further stand-ins."""

    __path__: MutableSequence[str] = []  # noqa: RUF012 (as types.ModuleType has it)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _empty_class(name, self.__name__) if name[0].isupper() else StandIn(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A decorator, with arguments or without; anything else is a use of what is not there."""
        if len(args) == 1 and callable(args[0]) and not kwargs:
            return args[0]
        if not args and self.__name__.startswith("triton"):
            return lambda function: function
        raise RuntimeError(f"{self.__name__} is not installed")


def import_megatron() -> list[str]:
    """Import what a training needs of Megatron-Bridge; returns the missing packages that have stand-ins in it now.

    Contract: nothing of Megatron has been imported.
    """
    missing = [package for package in IMPORTERS if not _is_there(package)]
    with collector.off(), _in_place(missing) if missing else contextlib.nullcontext():
        for name in _MODULES:
            importlib.import_module(name)
    return missing


@contextlib.contextmanager
def _in_place(missing: list[str]) -> Iterator[None]:
    real, made = builtins.__import__, {package: StandIn(package) for package in missing}

    def import_(
        name: str,
        globals_: Any = None,
        locals_: Any = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        importer = (globals_ or {}).get("__name__", "")
        for package, module in made.items():
            if level == 0 and importer in IMPORTERS[package] and f"{name}.".startswith(f"{package}."):
                return _part(module, name.removeprefix(package).split(".")) if fromlist else module
        return real(name, globals_, locals_, fromlist, level)

    # The importer is known to __import__ alone; finders of sys.meta_path are not told who asks.
    builtins.__import__ = import_  # type: ignore[assignment]  # a stand-in comes from it as well
    try:
        yield
    finally:
        builtins.__import__ = real


def _part(module: Any, names: list[str]) -> Any:
    for name in names:
        module = getattr(module, name) if name else module
    return module


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _empty_class(name: str, module: str) -> Any:
    import torch

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        torch.nn.Module.__init__(self)

    content = {"__module__": module, "__init__": init, "__class_getitem__": classmethod(lambda kind, _: kind)}
    return type(name, (torch.nn.Module,), content)
