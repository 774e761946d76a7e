"""The recipe: is there one of that name, what is it called with, and does it do what `mode` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.megatron_bridge import keys, schema, settings
from automodel_launch.backends.megatron_bridge.checks.told import told
from automodel_launch.backends.megatron_bridge.schema import Recipe, kinds
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import completed, did_you_mean, nearest

_BLEND = keys.BLEND.partition(".")[2]
_LISTED = "python launch.py recipes pretrain-bridge lists all names"


def named(plan: Plan) -> Iterator[Finding]:
    """A recipe of Megatron-Bridge, or a function of the user's own."""
    written = plan.config.get(keys.RECIPE)
    path = settings.recipe_path(plan.config)
    if written is None or written == "":
        message = f"{keys.RECIPE} is not given: the script builds its configuration from one."
        yield Finding("error", "missing-key", message, f"--recipe qwen3_8b_pretrain_config; {_LISTED}")
    elif not path:
        fix = "recipe: NAME, or recipe: {_target_: PATH, ...}"
        yield Finding("error", "wrong-type", f"{describe(plan, keys.RECIPE)} names no recipe.", fix)
    elif not dotted.left_to_the_job(path):
        yield from _found(plan, path)


def _found(plan: Plan, path: str) -> Iterator[Finding]:
    key = keys.RECIPE if isinstance(plan.config[keys.RECIPE], str) else f"{keys.RECIPE}.{keys.TARGET}"
    known, where = schema.load().recipe(path), describe_value(plan, key, path)
    if known is None and (path.startswith(f"{schema.PACKAGE}.") or "." not in path):
        name = path.rpartition(".")[2]
        same = schema.load().recipe(name)
        near = same or schema.load().recipe(nearest(name, schema.load().recipes) or "")
        meant = f" Did you mean {near.path if '.' in path else near.name}?" if near else ""
        message = f"{where}: Megatron-Bridge {schema.VERSION} has no such recipe.{meant}"
        fix = f"{key}={near.path if '.' in path else near.name}" if near else _LISTED
        yield Finding("error", "unknown-recipe", message, fix)
    elif known is None:
        text = (
            f"{where} is not one of Megatron-Bridge's: its values and the classes of its sections are not known here."
        )
        yield Finding("note", "not-checked", text)
    elif known.failed and known.failed.startswith("NotImplementedError"):
        message = f"{where} stops at once: {known.failed.partition(': ')[2]}"
        yield Finding("error", "unknown-recipe", message, _LISTED)


def arguments(plan: Plan) -> Iterator[Finding]:
    """What the function is called with. Most recipes take nothing: what is a setting belongs to its section."""
    known = settings.of(plan.config)
    if known.recipe is None:
        return
    given = settings.arguments(plan.config)
    for name, value in given.items():
        key = f"{keys.RECIPE}.{name}"
        if name == _BLEND and _BLEND not in known.recipe.arguments:
            yield from _blend(plan, known.recipe, value)
        elif name not in known.recipe.arguments:
            yield _not_taken(plan, known.recipe, key, name, value)
        elif not kinds.fits(value, known.recipe.arguments[name]):
            message = f"{describe_value(plan, key, value)} is not {kinds.words(known.recipe.arguments[name])}."
            yield Finding("error", "wrong-type", message, kinds.example(key, value, known.recipe.arguments[name]))
    for name in known.recipe.required:
        if name not in given:
            message = f"{known.recipe.name} has to be called with {name}."
            yield Finding("error", "missing-key", message, f"+{keys.RECIPE}.{name}=VALUE")


def _blend(plan: Plan, recipe: Recipe, value: Any) -> Iterator[Finding]:
    if not isinstance(value, str):
        message = f"{describe_value(plan, keys.BLEND, value)} is not the path of a blend.json."
        yield Finding("error", "wrong-type", message, f"{keys.BLEND}=PATH")
    elif recipe.classes and "blend_per_split" not in schema.load().fields(recipe.classes["dataset"]):
        message = f"{describe_value(plan, keys.BLEND, value)}: the data set of {recipe.name},"
        message += f" {recipe.classes['dataset']}, takes no blend."
        yield Finding("error", "unknown-key", message, f"~{keys.BLEND}, or a recipe that pretrains")


def _not_taken(plan: Plan, recipe: Recipe, key: str, name: str, value: Any) -> Finding:
    takes = [*recipe.arguments, _BLEND]
    message = f"{describe_value(plan, key, value)}: {recipe.name} takes no '{name}'."
    section = next((one for one in _SECTIONS if name in _all_fields(one)), None)
    meant = did_you_mean(name, takes)
    fix = f"{section}.{name}, which is a setting" if section and not meant else f"it takes {', '.join(takes)}"
    return Finding("error", "unknown-key", f"{message}{meant}", fix)


_SECTIONS = ("train", "model", "optimizer", "scheduler", "dataset", "checkpoint", "logger", "tokenizer")


def _all_fields(section: str) -> set[str]:
    return {name for name, _ in schema.fields_of(schema.load().classes(section, None))}


def mode(plan: Plan) -> Iterator[Finding]:
    """`mode` is one of two, and fits the recipe's name; fine-tuning begins with weights."""
    known, written = settings.of(plan.config), plan.config.get(keys.MODE)
    if written is not None and written not in keys.MODES:
        message = f"{describe(plan, keys.MODE)}: {' or '.join(keys.MODES)}."
        yield Finding("error", "bad-value", message, f"mode={nearest(str(written), keys.MODES) or 'pretrain'}")
        return
    named_mode = known.recipe.mode if known.recipe else None
    if written == "pretrain" and named_mode == "finetune" and known.value(keys.PRETRAINED) is None:
        message = (
            f"{describe(plan, keys.MODE)}, and {settings.recipe_path(plan.config)} fine-tunes: it would begin with"
        )
        yield Finding("error", "mode", f"{message} random weights.", "mode=finetune, or a recipe that pretrains")
    elif written == "finetune" and named_mode == "pretrain":
        message = f"{describe(plan, keys.MODE)}, and the recipe's name says that it pretrains."
        yield Finding("warning", "mode", message, "~mode, or a recipe that fine-tunes")
    elif written is None and known.recipe is None and known.pretrains is None and settings.recipe_path(plan.config):
        message = f"{describe(plan, keys.RECIPE)}: its name does not say whether it pretrains or fine-tunes."
        yield Finding("warning", "mode", f"{message} It is taken to do what the script's name says.", "+mode=pretrain")


def weights(plan: Plan) -> Iterator[Finding]:
    """Fine-tuning without a checkpoint to begin with; also PEFT in a pretraining."""
    known = settings.of(plan.config)
    if known.recipe is None or not known.known(keys.PRETRAINED) or known.value(keys.PRETRAINED) is not None:
        return
    adapters = plan.config.get("peft") is not None
    if known.pretrains is False or adapters:
        what = "PEFT is for" if adapters else "fine-tuning begins with"
        message = f"{told(plan, known, keys.PRETRAINED)}: {what} the weights of a checkpoint."
        fix = f"+{keys.PRETRAINED}=DIR; launch.py convert hf-to-megatron makes one from a model of Hugging Face's"
        yield Finding("error", "missing-key", message, fix)


def step_function(plan: Plan) -> Iterator[Finding]:
    """The forward step that fits the model."""
    written, known = plan.config.get(keys.STEP_FUNC), schema.load().data["step_functions"]
    if written is None or dotted.left_to_the_job(written):
        return
    if not isinstance(written, str) or ("." not in written and written not in known):
        near = completed(str(written), known) or known[0]
        message = f"{describe(plan, keys.STEP_FUNC)}: there is {', '.join(known)}, or the path of a function."
        yield Finding("error", "bad-value", message, f"step_func={near}")


def vision(plan: Plan) -> Iterator[Finding]:
    """A recipe of a model of images and text is trained with a step of its own."""
    known = settings.of(plan.config)
    provider = known.recipe.classes.get("model", "") if known.recipe else ""
    if "VL" in provider and plan.config.get(keys.STEP_FUNC) in (None, "gpt_step"):
        message = (
            f"{describe(plan, keys.STEP_FUNC)}: {known.recipe and known.recipe.name} is a model of images and text,"
        )
        message += " and gpt_step, the default, gives it text only."
        yield Finding("warning", "step-function", message, "step_func=vlm_step")


def hugging_face(plan: Plan) -> Iterator[Finding]:
    """`hf_configs` names the model that the recipe asks for, and holds a configuration."""
    given, known = plan.config.get(keys.HF_CONFIGS), settings.of(plan.config)
    if given is None:
        return
    if not isinstance(given, Mapping):
        message = f"{describe(plan, keys.HF_CONFIGS)} is not a mapping from ids of the hub."
        yield Finding("error", "wrong-type", message, f"{keys.HF_CONFIGS}: {{ID: DIRECTORY}}")
        return
    for name, value in given.items():
        key = f"{keys.HF_CONFIGS}.{name}"
        if not isinstance(value, str | Mapping):
            yield Finding("error", "wrong-type", f"{describe_value(plan, key, value)} is no directory.", f"{key}=DIR")
        elif isinstance(value, Mapping) and not value.get("architectures"):
            message = f"{key}: it has no `architectures`, by which Megatron-Bridge finds out what it is."
            yield Finding("error", "missing-key", message, "architectures: [Qwen3ForCausalLM], say")
    yield from _unused(plan, known, [str(name) for name in given])


def _unused(plan: Plan, known: Settings, given: list[str]) -> Iterator[Finding]:
    hub = known.recipe.hub if known.recipe else None
    if known.recipe is None or hub in given:
        return
    for name in given:
        asks = f"asks for {hub}" if hub else "asks for none"
        message = f"{describe(plan, f'{keys.HF_CONFIGS}.{name}')}: {known.recipe.name} {asks}, so it has no effect."
        level: Any = "error" if hub else "warning"
        yield Finding(level, "ignored-key", message, f"{hub} in its place" if hub else f"~{keys.HF_CONFIGS}")


CHECKS = (named, arguments, mode, weights, step_function, vision, hugging_face)
