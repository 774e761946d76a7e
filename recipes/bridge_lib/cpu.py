"""Lets Megatron-Bridge 0.3.1 and megatron-core 0.16.1 train without CUDA, over gloo. With CUDA it does nothing at all.

They support GPUs only: tensors are made on "cuda" everywhere, streams and random states are asked for without looking.
What is given up on a CPU: mixed precision, fused kernels, Transformer Engine, and so sequence parallelism. Each patch
says why it is needed; tests/recipes/bridge_scripts/still_needed.py fails when one no longer is.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from pretrain_lib.config import ConfigError
from torch.overrides import TorchFunctionMode

FUSIONS = (
    *("bias_dropout_fusion", "bias_activation_fusion", "masked_softmax_fusion", "cross_entropy_loss_fusion"),
    *("gradient_accumulation_fusion", "apply_rope_fusion", "persist_layer_norm", "moe_permute_fusion"),
    *("moe_router_fusion", "moe_grouped_gemm"),
)


def apply() -> None:
    """Patch torch.cuda and the places where Megatron needs it. Contract: before a configuration is built."""
    if torch.cuda.is_available():
        return
    _patch_cuda()
    _patch_random_states()
    _patch_set_up()
    _patch_optimizer()
    # megatron-core decorates with torch.compile; on a CPU its compiler takes longer than a toy's training
    torch.compiler.set_stance("force_eager")
    # every tensor that is made on "cuda" from here on is on the CPU; it is left in force for the process's life
    CudaIsCpu().__enter__()


def adapt(config: Any) -> list[str]:
    """Set what a CPU can do, before the sections of a config are applied; returns what was done, a phrase each."""
    if torch.cuda.is_available():
        return []
    adapt_model(config.model)
    config.optimizer.bf16 = config.optimizer.fp16 = False
    config.optimizer.use_precision_aware_optimizer = False
    config.mixed_precision = None
    config.comm_overlap = None
    config.dist.distributed_backend = "gloo"
    return ["float32 instead of mixed precision", "gloo instead of nccl", "layers and losses without fused kernels"]


def adapt_model(model: Any, keep_dtype: bool = False) -> None:
    """The same for a model's provider alone; with `keep_dtype` its parameters' type stays, as a conversion needs it."""
    if torch.cuda.is_available():
        return
    from megatron.bridge.models.gpt_provider import local_layer_spec

    if hasattr(model, "transformer_layer_spec"):
        model.transformer_layer_spec = local_layer_spec
    for name in FUSIONS:
        if hasattr(model, name):
            setattr(model, name, False)
    model.transformer_impl = "local"
    model.sequence_parallel = False
    if not keep_dtype:
        model.bf16 = model.fp16 = False
        model.autocast_dtype = None
        model.params_dtype = model.pipeline_dtype = torch.float32


def require(config: Any) -> None:
    """Refuse what a section has set that a CPU cannot do.

    Raises:
        ConfigError: names the key.
    """
    if torch.cuda.is_available():
        return
    wrong = {
        "mixed_precision": config.mixed_precision is not None,
        "comm_overlap": config.comm_overlap is not None,
        "model.sequence_parallel": config.model.sequence_parallel,
        "model.transformer_impl": config.model.transformer_impl == "transformer_engine",
    }
    for key, set_ in wrong.items():
        if set_:
            raise ConfigError(f"{key} is set, and there is no CUDA here: it needs a GPU; leave it out on a CPU")


class CudaIsCpu(TorchFunctionMode):  # type: ignore[misc]  # of a package that mypy does not follow
    """device="cuda", device=0, .cuda() and .to("cuda") mean the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each of its functions."""
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if _is_cuda(kwargs.get("device"), numbers=True):
            kwargs["device"] = torch.device("cpu")
        if func is torch.Tensor.to:
            args = tuple(torch.device("cpu") if _is_cuda(arg, numbers=False) else arg for arg in args)
        kwargs.pop("pin_memory", None)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            # megatron-core's clip_grads compares with "torch.cuda.FloatTensor"
            return func(*args).replace("torch.", "torch.cuda.", 1)
        return func(*args, **kwargs)


def _is_cuda(value: Any, numbers: bool) -> bool:
    if isinstance(value, torch.device):
        return bool(value.type == "cuda")
    if isinstance(value, int) and not isinstance(value, bool):
        return numbers
    return isinstance(value, str) and value.startswith("cuda")


class _Stream:
    """A stream or an event: whatever is asked of it is done already."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *args: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Takes the place of what only a GPU has to do."""


def _patch_cuda() -> None:
    """torch.cuda, as Megatron calls it unasked. A function of its own for each: dynamo stumbles over a shared one."""
    cuda: Any = torch.cuda
    for name in ("set_device", "synchronize", "empty_cache", "set_stream", "reset_peak_memory_stats", "ipc_collect"):
        setattr(cuda, name, functools.partial(_nothing))
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(cuda, name, lambda *args, **kwargs: 0)
    cuda.current_device = lambda: 0
    cuda.device_count = lambda: 1
    cuda.Stream = cuda.Event = _Stream
    cuda.current_stream = cuda.default_stream = lambda *args: _Stream()
    cuda.stream = lambda stream: contextlib.nullcontext()
    cuda.memory_stats = lambda *args, **kwargs: {}
    cuda.get_device_capability = lambda *args, **kwargs: (0, 0)
    cuda.get_device_properties = lambda *args, **kwargs: _Properties()
    tensor, module = torch.Tensor, torch.nn.Module
    tensor.cuda = lambda self, *args, **kwargs: self
    module.cuda = lambda self, *args, **kwargs: self


class _Properties:
    name, total_memory, multi_processor_count, major, minor = "cpu", 1 << 34, 1, 0, 0


def _patch_random_states() -> None:
    """The GPU's random state is the CPU's: checkpoints hold it, and tensor parallel ranks switch between two."""
    import megatron.core.tensor_parallel.random as random

    cuda: Any = torch.cuda
    cuda.manual_seed = cuda.manual_seed_all = torch.default_generator.manual_seed
    cuda.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    cuda.set_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)
    random._get_cuda_rng_state = lambda device="cuda", clone=False, graph_safe=False: torch.get_rng_state()
    random._set_cuda_rng_state = lambda state, device=-1, graph_safe=False: torch.set_rng_state(state)


def _patch_optimizer() -> None:
    """Let a checkpoint be loaded without Apex and Transformer Engine, and go on with it as if nothing had been.

    DistributedOptimizer of megatron-core 0.16.1 then takes torch's AdamW. Its state_dict() asks for the step in the
    states, and fails (`assert len(steps) == 1`) before the first one, which is when a checkpoint is loaded: a step
    without gradients and with lr 0 makes the states and changes no weight. Its load_state_dict() takes the step from
    the checkpoint, as one tensor for all states, which AdamW would count up once for each of them; and then copies over
    it what the states had before, which is the 1 of that step.
    """
    from megatron.core.optimizer import distrib_optimizer

    if distrib_optimizer.HAVE_APEX_OR_TE:
        return
    kind = distrib_optimizer.DistributedOptimizer
    own, own_load = kind.state_dict, kind.load_state_dict

    def state_dict(self: Any) -> Any:
        """In place of the method of this name."""
        if not self.optimizer.state:
            rates = [group["lr"] for group in self.optimizer.param_groups]
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
            self._init_optimizer_states_with_dummy_values()
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        return own(self)

    def load_state_dict(self: Any, state: Any) -> None:
        """In place of the method of this name."""
        own_load(self, state)
        done = float(state["optimizer"]["param_groups"][0]["step"])
        for one in self.optimizer.state.values():
            one["step"] = torch.tensor(done)

    kind.state_dict, kind.load_state_dict = state_dict, load_state_dict


def _patch_set_up() -> None:
    """initialize_megatron has a parameter for no CUDA, which setup() does not pass on."""
    from megatron.bridge.training import initialize, setup

    setup.initialize_megatron = functools.partial(initialize.initialize_megatron, allow_no_cuda=True)
