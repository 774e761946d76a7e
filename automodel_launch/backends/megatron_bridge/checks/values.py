"""Single values, and pairs of them, that Megatron-Core or torch refuses once the job runs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from automodel_launch.backends.megatron_bridge import keys, settings
from automodel_launch.backends.megatron_bridge.checks.told import bad_value, told
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.plan.describe import override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import nearest

AT_LEAST = {
    "rng.seed": 1,
    "dist.distributed_timeout_minutes": 1,
    "ddp.bucket_size": 1,
    "model.make_vocab_size_divisible_by": 1,
    "dataset.num_workers": 0,
    "peft.dim": 1,
    "train.manual_gc_interval": 0,
    "train.exit_interval": 1,  # every iteration is a multiple of -1: the run would end after its first, with code 0
    "train.exit_duration_in_mins": 0,  # below, too; 0 is none
    "model.init_method_std": 0,
    "model.layernorm_epsilon": 0,
    "model.rotary_base": 1,
    keys.EXPERTS: 1,
    **dict.fromkeys((keys.LAYERS, keys.HIDDEN, "model.ffn_hidden_size", keys.HEADS, keys.GROUPS), 1),
    **dict.fromkeys(("model.kv_channels", "model.moe_router_topk", "model.moe_ffn_hidden_size"), 1),
    "profiling.profile_step_start": 0,
    "profiling.profile_step_end": 0,
    "optimizer.weight_decay": 0,
    "optimizer.adam_eps": 0,
    "scheduler.start_weight_decay": 0,
    keys.WARMUP: 0,  # Megatron-Core takes a negative one as if so much of the decay were over
    "scheduler.lr_warmup_samples": 0,
    keys.WSD: 0,
    "scheduler.lr_wsd_decay_samples": 0,
}
_MOST_SEED = 2**32 - 1
SHARES = {  # key: whether it may be 1
    "optimizer.adam_beta1": False,
    "optimizer.adam_beta2": False,
    "model.attention_dropout": True,
    "model.hidden_dropout": True,
}
_NORMALIZATIONS = ("LayerNorm", "RMSNorm", "L2Norm")
_OPTIMIZERS = ("adam", "sgd")
_OTHER_OPTIMIZERS = ("muon", "soap")  # anywhere in the name (training/optim.py); their packages are the image's
_RECOMPUTED = ("core_attn", "layernorm", "mla_up_proj", "mlp", "moe", "moe_act", "shared_experts")


def ranges(plan: Plan) -> Iterator[Finding]:
    """Numbers below the least, and shares that are none."""
    known = settings.of(plan.config)
    for key, least in AT_LEAST.items():
        value = known.rate(key)
        if value is not None and known.written(key) and not least <= value < math.inf:
            what = f"must be at least {least}" if value < least else "is no number to compute with"
            message = f"{told(plan, known, key)} {what}."
            yield Finding("error", "not-positive", message, f"{key}={least} or more")
    for key, whole in SHARES.items():
        value = known.rate(key)
        if value is not None and known.written(key) and not (0 <= value < 1 or (whole and value == 1)):
            yield bad_value(plan, key, value, f" is not from 0 to {'1' if whole else 'below 1'}.", f"{key}=0.1, say")
    seed = known.rate("rng.seed")
    if seed is not None and known.written("rng.seed") and seed > _MOST_SEED:
        rest = f" is more than {_MOST_SEED:,}, the largest seed of NumPy's."
        yield bad_value(plan, "rng.seed", known.value("rng.seed"), rest, "rng.seed=1234")
    if known.rate("optimizer.adam_eps") == 0 and known.value("optimizer.optimizer") == "adam":
        rest = ": a weight without a gradient, as that of a token that is not in a batch, would be 0 / 0, NaN."
        yield bad_value(plan, "optimizer.adam_eps", 0.0, rest, override(plan, "optimizer.adam_eps", "1e-8"))
    for key in (keys.GLOBAL_BATCH, keys.MICRO_BATCH, keys.LR):
        if known.written(key) and known.known(key) and known.value(key) is None:
            what = (
                "Megatron-Core computes with it"
                if key == keys.LR
                else "the number of micro batches is computed with it"
            )
            message = f"{key} is null, and {what}."
            yield Finding("error", "missing-key", message, f"{key}=NUMBER, or ~{key} to leave it to the recipe")


def names(plan: Plan) -> Iterator[Finding]:
    """Names that are plain strings for the schema, and of which there are few."""
    known = settings.of(plan.config)
    name = known.value("optimizer.optimizer")
    if isinstance(name, str) and name not in _OPTIMIZERS and not any(one in name for one in _OTHER_OPTIMIZERS):
        rest = f": Megatron-Core has {', '.join(_OPTIMIZERS)} and muon; adam decouples weight decay, as AdamW does."
        yield bad_value(plan, "optimizer.optimizer", name, rest, override(plan, "optimizer.optimizer", "adam"))
    norm = known.value("model.normalization")
    if isinstance(norm, str) and known.written("model.normalization") and norm not in _NORMALIZATIONS:
        fix = override(plan, "model.normalization", nearest(norm, _NORMALIZATIONS) or "RMSNorm")
        yield bad_value(plan, "model.normalization", norm, f": there is {', '.join(_NORMALIZATIONS)}.", fix)


def recompute(plan: Plan) -> Iterator[Finding]:
    """Recomputing all of a layer needs to be told how, and of how many; a part of it, of which modules."""
    known = settings.of(plan.config)
    granularity = known.value("model.recompute_granularity")
    method, layers = "model.recompute_method", "model.recompute_num_layers"
    if granularity == "full" and known.known(method, layers):
        for key, example in ((method, "uniform"), (layers, "1")):
            value = known.value(key)
            if value is None or (key == layers and isinstance(value, int) and value < 1):
                message = f"{told(plan, known, 'model.recompute_granularity')} needs {told(plan, known, key)}."
                yield Finding("error", "missing-key", message, override(plan, key, example))
    modules = known.value("model.recompute_modules")
    if granularity == "selective" and isinstance(modules, list) and known.written("model.recompute_modules"):
        other = [one for one in modules if isinstance(one, str) and "${" not in one and one not in _RECOMPUTED]
        if other:
            rest = f": there is no module {other[0]!r}; {', '.join(_RECOMPUTED)}."
            yield bad_value(
                plan, "model.recompute_modules", modules, rest, f"[{nearest(other[0], _RECOMPUTED) or _RECOMPUTED[0]}]"
            )


def profilers(plan: Plan) -> Iterator[Finding]:
    """One profiler, from a step to a later one."""
    known = settings.of(plan.config)
    both = ("profiling.use_nsys_profiler", "profiling.use_pytorch_profiler")
    if all(known.value(key) is True for key in both):
        yield bad_value(plan, both[0], True, f", and {told(plan, known, both[1])}: there can be one.", f"~{both[0]}")
    first, last = "profiling.profile_step_start", "profiling.profile_step_end"
    start, end = _of_section(known, first), _of_section(known, last)
    if start is not None and end is not None and 0 <= end < start:
        message = f"{last} = {end} is before {first} = {start}."
        yield Finding("error", "bad-value", message, f"{last}={start + 1} or more")


def _of_section(known: Settings, key: str) -> int | None:
    """A number of `profiling`, which is null unless the config has it; then its class's defaults count."""
    defaults = {"profiling.profile_step_start": 10, "profiling.profile_step_end": 12}
    if not known.written("profiling"):
        return None
    return known.number(key) if known.written(key) else defaults[key]


def warm_up_start(plan: Plan) -> Iterator[Finding]:
    """The rate at which the warm-up begins is not above the one that it ends at."""
    known, key = settings.of(plan.config), "scheduler.lr_warmup_init"
    first, top = known.rate(key), known.rate(keys.LR)
    if first is not None and top is not None and ((first > top and top > 0) or first < 0):
        message = f"{told(plan, known, key)} is {'negative' if first < 0 else f'above {told(plan, known, keys.LR)}'}."
        yield Finding("error", "lr-range", message, override(plan, key, 0))


def weight_decay(plan: Plan) -> Iterator[Finding]:
    """Weight decay rises from start to end, or stays as it is."""
    known = settings.of(plan.config)
    first, last, style = (
        f"scheduler.{name}" for name in ("start_weight_decay", "end_weight_decay", "weight_decay_incr_style")
    )
    start, end = known.rate(first), known.rate(last)
    if start is None or end is None or not any(known.written(key) for key in (first, last, style)):
        return
    if end < start:
        message = f"{told(plan, known, last)} is less than {told(plan, known, first)}: it may only rise."
        yield Finding("error", "bad-value", message, f"{last}={start:g} or more")
    elif end != start and known.value(style) == "constant":
        message = f"{told(plan, known, style)}, and {told(plan, known, first)} is not {told(plan, known, last)}."
        yield Finding("error", "bad-value", message, f"+{style}=linear, or both the same")


def scheduler(plan: Plan) -> Iterator[Finding]:
    """The schedule of a resumed run is the config's, or the checkpoint's."""
    known = settings.of(plan.config)
    own, kept = "scheduler.override_opt_param_scheduler", "scheduler.use_checkpoint_opt_param_scheduler"
    if known.value(own) is True and known.value(kept) is True:
        message = f"{told(plan, known, own)}, and {told(plan, known, kept)}: there can be one."
        yield Finding("error", "bad-value", message, override(plan, own, "false"))


def tokenizer(plan: Plan) -> Iterator[Finding]:
    """A tokenizer without a vocabulary is told its size."""
    known = settings.of(plan.config)
    if known.value(keys.TOKENIZER_TYPE) == "NullTokenizer" and not _sized(known):
        message = f"{told(plan, known, keys.TOKENIZER_TYPE)} needs tokenizer.vocab_size."
        yield Finding("error", "missing-key", message, "+tokenizer.vocab_size=IDS, the number of them less one")


def _sized(known: Settings) -> bool:
    key = "tokenizer.vocab_size"
    return not known.complete or not known.known(key) or known.value(key) is not None


def one_blend(plan: Plan) -> Iterator[Finding]:
    """The data are named once: by blend.json, `blend_per_split` or `blend`; `split` divides the last."""
    known = settings.of(plan.config)
    by_file = settings.arguments(plan.config).get(keys.BLEND.partition(".")[2]) is not None
    given = [key for key in (keys.DATA_BLEND, keys.DATA_SPLITS) if known.value(key)]
    given = [keys.BLEND, *given] if by_file else given
    if len(given) > 1:
        message = f"{' and '.join(given)}: the data are named more than once."
        yield Finding("error", "bad-blend", message, " ".join(f"~{key}" for key in given[1:]))
    split = "dataset.split"
    if known.written(split) and known.value(split) is not None and given[:1] in ([keys.BLEND], [keys.DATA_SPLITS]):
        message = f"{told(plan, known, split)} divides data that are not divided yet, and {given[0]} has them by split."
        yield Finding("error", "bad-blend", message, f"~{split}")


CHECKS = (
    ranges,
    names,
    recompute,
    profilers,
    warm_up_start,
    weight_decay,
    scheduler,
    tokenizer,
    one_blend,
)
