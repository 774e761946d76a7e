"""An estimate of the memory that training takes on the fullest GPU. docs/memory.md derives each line of it.

Sources: parameters, gradients and optimizer states after ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1);
activations counted tensor by tensor as Korthikanti et al. 2022 (arXiv 2205.05198, section 4) do, for the operations of
transformers' and AutoModel's layers and with an attention kernel that keeps no score matrix; what FSDP2 gathers and
keeps after torch/distributed/fsdp/_fully_shard and AutoModel 0.7.0's parallelizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from automodel_launch.backends.automodel.model.parallelism import Layout
from automodel_launch.backends.automodel.model.parameters import (
    QK_NORM,
    Parameters,
    expert_width,
    norms_of_layer,
    sparse_layers,
)
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.remote import gpu_models

BYTES = {"float32": 4, "float": 4, "fp32": 4, "bfloat16": 2, "bf16": 2, "float16": 2, "half": 2, "fp16": 2}
SHARDED = ("fsdp2", "mfsdp")
_MOMENTS = {"SGD": 1, "Lion": 1, "Muon": 1, "Adafactor": 0}  # all others: two, as Adam


@dataclass(frozen=True)
class Setting:
    """What the estimate depends on, beside the model. `micro` is the sequences of one forward pass."""

    layout: Layout
    strategy: str  # fsdp2, mfsdp, ddp, or `single` for a rank that shares nothing
    sequence: int
    micro: int
    micro_batches: int  # forward passes of an optimizer step, on each rank
    stored: int  # bytes of a parameter at rest
    compute: int  # and in the layers
    recompute: str
    sequence_parallel: bool = False
    stays_gathered: bool | None = None  # `reshard_after_forward` is false; None: AutoModel's own choice
    defers_gradients: bool = True
    full_logits: bool = True
    compiled: bool = False
    moments: int = 2
    pipelined: int = 1  # micro-batches in one call of a pipeline's schedule
    fills: bool = False  # the schedule makes all of a call's forward passes first (GPipe)
    trained: float = 1.0  # share of the weights that have gradients and states; all others are frozen


@dataclass(frozen=True)
class Estimate:
    """Bytes on the fullest GPU, by kind."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float
    overhead: float = gpu_models.RUNTIME

    @property
    def total(self) -> float:
        """All kinds together."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


def moments(optimizer: str) -> int:
    """States that the optimizer keeps for a parameter."""
    return _MOMENTS.get(optimizer, 2)


def estimate(shape: Shape, parameters: Parameters, setting: Setting) -> Estimate:
    """The estimate for the fuller one of the first and the last pipeline stage, at its fullest moment."""
    stages = {0, setting.layout.pp - 1}
    moments = (moment for stage in stages for moment in _moments(shape, parameters, setting, stage))
    return max(moments, key=lambda found: found.total)


def _moments(shape: Shape, parameters: Parameters, s: Setting, stage: int) -> Iterator[Estimate]:
    """What is there when the loss is computed, when the backward pass has reached the first layers, and at the end of a
    pipeline's schedule.
    """
    first, last = stage == 0, stage == s.layout.pp - 1
    layers = -(-parameters.number_of_layers // s.layout.pp)
    part = layers / parameters.number_of_layers
    tensor = s.layout.tp if not shape.experts else 1  # AutoModel's MoE plans keep the complete attention on every rank
    ends = (parameters.embedding if first else 0) + (
        parameters.head or parameters.embedding if last and not first else 0
    )
    ends += parameters.head if first and last else 0
    dense, experts = (ends + parameters.layers * part) / tensor, parameters.experts * part
    # Without expert parallelism FSDP2 spreads experts as any other parameter.
    if s.layout.ep == 1:
        dense, experts = dense + experts / tensor, 0.0
    shards = s.layout.shards if s.strategy in SHARDED else 1
    own_experts = experts / s.layout.ep
    at_rest = dense / shards + own_experts / s.layout.expert_shards
    live = s.pipelined if s.fills else min(s.layout.pp - stage, s.micro_batches)  # micro-batches in flight under 1F1B
    output = _output(shape, s) if last and s.layout.pp > 1 else 0.0
    # of a call's other micro-batches; where their backward passes wait, their log-softmax, too
    others = (s.pipelined - 1) * output * (1 + (4 / s.compute if s.fills else 0))
    layer = layer_activations(shape, s)
    kept = layers * live * kept_activations(shape, s, layer)
    biggest = max(ends / tensor, 2 * (dense - ends / tensor) / layers)
    before = _gradients_before(s, at_rest, dense, own_experts) * s.trained
    at_loss = Estimate(
        weights=at_rest * s.stored,
        gradients=before,
        optimizer=at_rest * s.stored * s.moments * s.trained,
        gathered=_gathered(shape, s, dense, own_experts, biggest),
        activations=kept,
        logits=_logits(shape, s) + others if last else 0.0,
    )
    yield at_loss
    working = layer if s.recompute != "none" else 0.0
    if s.strategy in SHARDED:  # whole gradients of the layers at work, where they are not whole already
        made = biggest * (s.compute + (0 if _deferred(s) and s.layout.pp == 1 else 4))
    else:
        made = 0.0 if before else at_rest * s.stored
    made *= s.trained
    kept_outputs = s.pipelined * output
    yield replace(at_loss, gradients=before + made, activations=kept + working, logits=kept_outputs)
    if output:  # torch's schedule makes one tensor of them (_merge_outputs), which AutoModel does not ask for
        sharded = at_rest * s.stored * s.trained
        yield replace(at_loss, gradients=sharded, gathered=0.0, activations=0.0, logits=2 * kept_outputs)


def _gathered(shape: Shape, s: Setting, dense: float, own_experts: float, biggest: float) -> float:
    """Complete parameters in the layers' precision: those at work, or all where they stay after the forward pass."""
    if s.strategy not in SHARDED:  # autocast's copies of the weights, which the backward pass needs again
        copied = dense + own_experts if s.recompute == "none" else biggest
        return copied * s.compute if s.compute < s.stored else 0.0
    spread = own_experts if s.layout.expert_shards > 1 else 0.0
    stays = s.stays_gathered
    if stays is None:  # MoEParallelizerConfig, and pipeline stages, do not reshard
        stays = s.layout.pp > 1 or s.layout.ep > 1
    return (dense + spread if stays else biggest) * s.compute


def _deferred(s: Setting) -> bool:
    return s.defers_gradients and s.strategy == "fsdp2" and s.micro_batches > 1


def _gradients_before(s: Setting, at_rest: float, dense: float, own_experts: float) -> float:
    """Bytes of gradients when a step's last backward pass begins: those of the micro-batches before it.

    Where their reduction is deferred to the last micro-batch they are whole, and in float32
    (FSDPParam.unsharded_accumulated_grad). DDP has its buckets from the beginning.
    """
    if s.strategy == "ddp":
        return dense * s.stored * (2 if s.micro_batches > 1 else 1)
    if s.micro_batches == 1:
        return 0.0
    if _deferred(s):
        spread = s.layout.expert_shards > 1
        return 4 * (dense + (own_experts if spread else 0.0)) + (0.0 if spread else own_experts * s.stored)
    return at_rest * s.stored


def _logits(shape: Shape, s: Setting) -> float:
    """The logits, and in float32 their log-softmax, its gradient and the loss' (MaskedCrossEntropy; it gathers what
    tensor parallelism has split).
    """
    return _output(shape, s) / s.compute * (s.compute + 12)


def _output(shape: Shape, s: Setting) -> float:
    """The logits of one micro-batch, as the model gives them; of a pipeline's last stage all of a call are kept."""
    if not s.full_logits:
        return 0.0
    return s.micro * s.sequence / s.layout.cp * (shape.get("vocab_size") or 0) * s.compute


def layer_activations(shape: Shape, s: Setting) -> float:
    """Bytes that one layer keeps for its backward pass without recomputation."""
    h, c, tokens = shape.get("hidden_size") or 0, s.compute, s.micro * s.sequence / s.layout.cp
    tensor = s.layout.tp if not shape.experts else 1
    norms_over = tensor if s.sequence_parallel else 1
    q = (shape.get("num_attention_heads") or 0) * (shape.head_dim or 0)
    kv = (shape.kv_heads or 0) * (shape.head_dim or 0)
    if shape.get("kv_lora_rank"):
        q = kv = (shape.get("num_attention_heads") or 0) * ((shape.get("v_head_dim") or 0) + 64)
    if shape.family == "gpt2":  # LayerNorm is one operation, the MLP has one input matrix
        inner = shape.get("n_inner") or 4 * h
        return tokens * c * (4 * h / norms_over + (4 * h + 2 * inner) / tensor)
    # An RMSNorm written out keeps its input in float32, the normalized value and its product with the weight.
    norms = norms_of_layer(shape) * h * (4 + 2 * c)
    attention = (2 * q + 2 * kv) * c
    if shape.family in QK_NORM:
        attention += (q + kv) * (4 + c)
    return tokens * (norms / norms_over + (attention + _mlp(shape, c)) / tensor)


def _mlp(shape: Shape, c: int) -> float:
    """Gate, up, activation and their product; with experts, of every token's copies, which are kept themselves too."""
    if not sparse_layers(shape):
        return 4 * (shape.get("intermediate_size") or 0) * c
    h = shape.get("hidden_size") or 0
    active = shape.get("num_experts_per_tok") or 2
    shared = shape.get("n_shared_experts") or 0
    return c * (active * (2 * h + 4 * expert_width(shape)) + shared * 4 * expert_width(shape)) + 12 * shape.experts


def kept_activations(shape: Shape, s: Setting, layer: float) -> float:
    """Bytes that a layer keeps from the forward to the backward pass.

    Full recomputation keeps the inputs of what it wraps: AutoModel wraps a layer as a whole, and where it compiles the
    model attention and MLP each, and keeps what lies between. Selective recomputation keeps every second matrix
    product and the attention's output; it is taken as 0.3 of all, as rehearsals
    of Llama and Qwen2 have it.
    """
    if s.recompute == "none":
        return layer
    if s.recompute == "selective":
        return 0.3 * layer
    inputs = 4 if s.compiled else 1
    tokens = s.micro * s.sequence / s.layout.cp
    over = s.layout.tp if s.sequence_parallel and not shape.experts else 1
    return inputs * (shape.get("hidden_size") or 0) * s.compute * tokens / over
