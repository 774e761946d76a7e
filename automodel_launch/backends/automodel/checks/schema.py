"""The training config against the schema of AutoModel: keys, kinds of values, and values out of a few."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import keys, loader
from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.backends.automodel.checks.keys import against, ignored, kind, one_of, unknown
from automodel_launch.backends.automodel.schema import kinds, renamed
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value, override
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan

_FLOATS_TOLD = ["float32", "bfloat16", "float16"]
_TRAINED = (
    "model.torch_dtype",
    "model.dtype",
    keys.AUTOCAST,
    *(f"distributed.mp_policy.{one}_dtype" for one in ("param", "reduce", "output")),
)
_NEVER_SENT = ("KILL", "STOP", "9", "19")  # no process can take them
_FLOATS = ("float32", "float", "fp32", "bfloat16", "bf16", "float16", "half", "fp16", "float64", "double", "auto")


def top_level(plan: Plan) -> Iterator[Finding]:
    """AutoModel reads what it knows by name and ignores the rest, so that it does not report a misspelt `optimzer`."""
    known = _known(plan)
    if known is None:
        return
    for key, value in plan.config.items():
        if key.startswith(keys.VALIDATION) or key in _old(plan) or key in renamed.UNREAD:
            continue
        if key not in known:
            yield ignored(plan, key, value, known, "at the top level")
        else:
            yield from kind(plan, key, value, known[key])


def sections(plan: Plan) -> Iterator[Finding]:
    """The sections whose keys are fixed."""
    known = _known(plan)
    for key in known or ():
        taken = schemas.load().section("dataloader" if key == "validation_dataloader" else key)
        value = plan.config.get(key)
        if taken is None or kinds.as_read(value) is None or (key == "neftune" and not isinstance(value, dict)):
            continue
        if key == "packed_sequence" and not dotted.get(plan.config, "packed_sequence.packed_sequence_size"):
            continue  # switched off: nothing below it is read
        if not isinstance(value, dict):
            yield Finding(
                "error",
                "wrong-type",
                f"{describe_value(plan, key, value)} is not a mapping.",
                f"{key}:, with keys below",
            )
            continue
        values = {name: entry for name, entry in value.items() if f"{key}.{name}" not in _old(plan)}
        yield from against(plan, key, values, taken)


def distributed(plan: Plan) -> Iterator[Finding]:
    """What `distributed` takes depends on its strategy."""
    section = plan.config.get("distributed")
    if _known(plan) is None or not isinstance(section, dict):
        return
    schema, shape = schemas.load(), schemas.load().data["distributed"]
    strategy = section.get("strategy", "fsdp2")
    taken = schema.strategy(strategy) if isinstance(strategy, str) else None
    for name, value in section.items():
        key = f"distributed.{name}"
        if name in shape["sizes"]:
            yield from kind(plan, key, value, shape["sizes"][name])
        elif name in ("pipeline", "moe"):
            yield from _sub_section(plan, key, value, section, schemas.signature(shape[name]))
        elif name == "activation_checkpointing":
            yield from kind(plan, key, value, "bool|null|str")
        elif name in ("strategy", *shape["silent"]) or taken is None:
            continue
        elif name in taken.params:
            yield from kind(plan, key, value, taken.params[name])
        else:
            yield unknown(plan, key, value, [*taken.params, *shape["sizes"]], f"strategy {strategy}")
    yield from _old_strategy(plan, section)


def values(plan: Plan) -> Iterator[Finding]:
    """Keys that take one of a few strings. AutoModel reads some of them hours into the run (lr_decay_style)."""
    if _known(plan) is None:
        return
    for key, texts in schemas.load().data["values"].items():
        if key == keys.PP_SCHEDULE or key.startswith("compile."):  # checks/pipeline.py and compiling.py report them
            continue
        if key == "moe_metrics.mode" and not kinds.as_read(dotted.get(plan.config, "moe_metrics.enabled")):
            continue  # switched off
        value = dotted.get(plan.config, key)
        if isinstance(value, str) and "${" not in value and not _among(value, texts, key):
            yield one_of(plan, key, value, texts)
    yield from _signals(plan)


def no_numbers(plan: Plan) -> Iterator[Finding]:
    """`.nan`: what is computed with it is none either, mostly without a message until the last step."""
    for key, value in dotted.leaves(plan.config) if _known(plan) else ():
        told = key in (keys.LR, keys.MAX_LR, keys.MAX_NORM) or ".paths." in key  # by checks of their own
        if isinstance(value, float) and math.isnan(value) and not told:
            message = f"{describe_value(plan, key, value)} is no number, and neither is what is computed with it."
            yield Finding("error", "bad-value", message, f"{key}=NUMBER, or ~{key}")


def dtypes(plan: Plan) -> Iterator[Finding]:
    """Names of dtypes, wherever a key ends in `dtype`."""
    if _known(plan) is None:
        return
    texts = schemas.load().data["dtypes"]
    for key, value in dotted.leaves(plan.config):
        name = value.removeprefix("torch.").lower() if isinstance(value, str) and key.endswith("dtype") else "auto"
        if name not in ("auto", "none", "null") and "${" not in name and name not in texts:
            yield one_of(plan, key, value, _FLOATS_TOLD)
        elif key in _TRAINED and name not in (*_FLOATS, "none", "null") and "${" not in name:
            message = f"{describe_value(plan, key, value)}: nothing is trained in that type."
            yield Finding("error", "bad-value", message, f"{key}=bfloat16 or float32")


def old_keys(plan: Plan) -> Iterator[Finding]:
    """Keys of older releases, with what replaced them."""
    for key, old in _old(plan).items():
        shown, fix = key, old.fix if " " in old.fix else f"its new name is {old.fix}"
        if key == "rng" and isinstance(seed := dotted.get(plan.config, "rng.seed"), int):
            shown, fix = "rng.seed", override(plan, "seed", seed)
        if key == "rng" and _same_seed(plan.config):
            continue
        written = describe_value(plan, shown, dotted.get(plan.config, shown))
        yield Finding(old.level, "renamed-key", f"{written}: AutoModel {schemas.VERSION} {old.does}.", fix)


def _known(plan: Plan) -> Mapping[str, str] | None:
    """The keys at the top level, where the config is one for AutoModel and they are known."""
    return schemas.load().top(loader.recipe_class(plan.config))


def _same_seed(config: Mapping[str, Any]) -> bool:
    """What the section `rng` of older releases asks for is what happens without it."""
    seed = dotted.get(config, "rng.seed")
    return (seed is None or seed == config.get("seed", 42)) and dotted.get(config, "rng.ranked") is not False


def _old(plan: Plan) -> dict[str, renamed.Renamed]:
    return {old.key: old for old in renamed.RENAMED if dotted.has(plan.config, old.key)}


def _sub_section(
    plan: Plan, key: str, value: Any, section: Mapping[str, Any], taken: schemas.Signature | None
) -> Iterator[Finding]:
    """`pipeline` is read with pp_size > 1 only, `moe` with ep_size > 1."""
    size = kinds.as_read(section.get("pp_size" if key.endswith("pipeline") else "ep_size"))
    if isinstance(value, dict) and taken and isinstance(size, int) and size > 1:
        yield from against(plan, key, value, taken)


def _old_strategy(plan: Plan, section: Mapping[str, Any]) -> Iterator[Finding]:
    """`distributed._target_` is ignored without a message: who asked for DDPManager got FSDP2."""
    target = section.get("_target_")
    if not isinstance(target, str):
        return
    wanted = renamed.STRATEGIES.get(target.rpartition(".")[2])
    written = describe_value(plan, "distributed._target_", target)
    message = f"{written}: AutoModel {schemas.VERSION} ignores it without a message."
    strategy = f"distributed.strategy: {wanted or 'fsdp2, ddp or megatron_fsdp'}"
    same = wanted == section.get("strategy", "fsdp2")
    yield Finding("warning" if same else "error", "renamed-key", message, f"{strategy}, without _target_")


def _among(value: str, texts: list[str], key: str) -> bool:
    if key == "dist_env.backend":  # also "cpu:gloo,cuda:nccl"
        return all(part.rpartition(":")[2] in texts for part in value.split(","))
    if key == "packed_sequence.packing_strategy" and "." in value:  # a class of the user
        return True
    if key.startswith(("lr_scheduler.", "moe_metrics.")):  # compared as they are; another one is passed over
        return value in texts
    return value.lower().replace("-", "_") in {text.lower().replace("-", "_") for text in texts}


def _signals(plan: Plan) -> Iterator[Finding]:
    key = "step_scheduler.preemption_signal"
    given = dotted.get(plan.config, key)
    for value in given if isinstance(given, list) else [given]:
        # components/training/signal_handler.py, resolve_signal: any case, with or without SIG
        name = str(value).upper() if isinstance(value, str | int) and "${" not in str(value) else "TERM"
        known = {str(number.value) for number in signal.Signals} | {one.name for one in signal.Signals}
        if not known & {name, f"SIG{name}"} or name.removeprefix("SIG") in _NEVER_SENT:
            yield one_of(plan, key, value, ["SIGTERM", "SIGUSR1", "SIGUSR2"])


CHECKS = (top_level, sections, distributed, values, no_numbers, dtypes, old_keys)
