"""The model on fake tensors instead of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

if TYPE_CHECKING:
    from ..stages import Run


def apply(run: Run, node: Any) -> None:
    """Have models built on meta, and their parameters become fake where they would become real."""
    import cpu_adapter

    cpu_adapter.apply(node)
    torch.compiler.set_stance("force_eager")  # a compiler takes minutes, and finds nothing wrong with a config
    _materialize_as_fakes(run.mode)
    _other_builders(node)
    _stay_where_they_are()


def _materialize_as_fakes(mode: Any) -> None:
    # AutoModel 0.7.0, checkpointing.py:1463: models are built on meta, and get storage here.
    from nemo_automodel.components.checkpoint.checkpointing import Checkpointer

    original = Checkpointer.initialize_model_weights

    def initialize_model_weights(model: Any, device: Any, peft_init_method: Any = None) -> Any:
        with mode:
            return original(model, torch.device("cpu"), peft_init_method=peft_init_method)

    Checkpointer.initialize_model_weights = staticmethod(initialize_model_weights)


def _other_builders(node: Any) -> None:
    # AutoModel 0.7.0, train_ft.py:330: what is no NeMoAutoModel builds a real model, however large.
    from nemo_automodel.components.config.loader import ConfigNode
    from nemo_automodel.recipes.llm import train_ft

    infrastructure = train_ft.apply_model_infrastructure

    def apply_model_infrastructure(model: Any, **kwargs: Any) -> Any:
        kwargs.update(is_meta_device=True, device=torch.device("cpu"))
        return infrastructure(model.to("meta"), **kwargs)

    train_ft.apply_model_infrastructure = apply_model_infrastructure
    section, instantiate = node.get("model", None), ConfigNode.instantiate

    def on_meta(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self is not section or args or kwargs:  # a NeMoAutoModel is given arguments, and builds on meta by itself
            return instantiate(self, *args, **kwargs)
        try:
            with torch.device("meta"):
                return instantiate(self)
        except (NotImplementedError, RuntimeError):  # a builder may look at values
            return instantiate(self)

    ConfigNode.instantiate = on_meta


def _stay_where_they_are() -> None:
    # torch 2.13: Module.to() of a module on fake tensors swaps their data, which fake tensors refuse.
    to = torch.nn.Module.to

    def module_to(self: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(getattr(p, "_local_tensor", p), FakeTensor) for p in self.parameters()):
            return self
        return to(self, *args, **kwargs)

    torch.nn.Module.to = module_to
