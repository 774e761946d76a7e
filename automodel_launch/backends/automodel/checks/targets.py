"""Every `_target_`: it exists, and takes the keywords beside it.

AutoModel resolves all of them when it loads the config, and calls them one by one, the model (minutes) before the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch.backends.automodel import datasets, keys, loader
from automodel_launch.backends.automodel import schema as schemas
from automodel_launch.backends.automodel.checks.keys import kind, one_of, unknown
from automodel_launch.backends.automodel.checks.model_configs import keywords
from automodel_launch.backends.automodel.checks.phases import with_phases
from automodel_launch.backends.automodel.schema import Signature, renamed
from automodel_launch.backends.user_code import in_file, in_module
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, did_you_mean, nearest

# What AutoModel itself gives to what a section builds (recipes/llm/train_ft.py, components/datasets/loader.py).
_GIVEN = {"optimizer": ("param_group_overrides",), "dataset": ("tokenizer",)}
# Keywords of transformers' from_pretrained that look like others of AutoModel's.
_HANDED_ON = ("config", "text_config", "vision_config", "audio_config", "generation_config", "dtype", "device_map")
_UNUSED = ("distributed", "lr_scheduler", "step_scheduler", "dataloader", "validation_dataloader", "recipe")
_LOADERS = ("torch.utils.data.DataLoader", "torchdata.stateful_dataloader.StatefulDataLoader")


def exist(plan: Plan) -> Iterator[Finding]:
    """Names that AutoModel cannot find, as far as that can be known here."""
    for key, path in _named(plan):
        if not isinstance(path, str):
            message = f"{describe_value(plan, key, path)} is not a string: give a dotted path, or FILE.py:NAME."
            yield Finding("error", "wrong-type", message, f"{key}=package.module.Name")
        elif "${" in path:
            continue
        elif ":" in path:
            yield from in_file(plan, key, path)
        elif not all(part.isidentifier() for part in path.split(".")):
            plain = re.sub(r"[^\w.]", "", path)
            message = f"{describe_value(plan, key, path)} is no dotted path: names of letters, digits and _."
            yield Finding("error", "unknown-target", message, f"{key}={plain or 'package.module.Name'}")
        elif "." not in path:
            yield _bare(plan, key, path)
        elif path.startswith("nemo_automodel."):
            yield from _in_automodel(plan, key, path)
        elif path.startswith("transformers."):
            yield from _in_transformers(plan, key, path)
        else:
            yield from in_module(plan, key, path)


def arguments(plan: Plan) -> Iterator[Finding]:
    """Keywords that a target does not take, ones that it must have, and values of the wrong kind."""
    read = {*(schemas.load().top(loader.recipe_class(plan.config)) or plan.config)}
    read |= {key for key in plan.config if key.startswith(keys.VALIDATION)}
    read -= renamed.KEYS  # never built, so that nothing stops at what stands there
    for key, section in loader.built(plan.config):
        path = section["_target_"]
        taken = _signature(key, path) if isinstance(path, str) and key not in _UNUSED else None
        if taken is not None and key == "dataset" and "phases" in section and datasets.MEGATRON_DATASET in str(path):
            taken = with_phases(taken)
        if taken is not None and key.partition(".")[0] in read:
            yield from _arguments(plan, key, section, taken)


def dataloader(plan: Plan) -> Iterator[Finding]:
    """`dataloader._target_` names one of two classes, neither of which is used: AutoModel has its own."""
    for key in ("dataloader", "validation_dataloader"):
        target = dotted.get(plan.config, f"{key}._target_")
        if isinstance(target, str) and target not in (*_LOADERS, ""):
            yield one_of(plan, f"{key}._target_", target, _LOADERS)


def _named(plan: Plan) -> Iterator[tuple[str, Any]]:
    """(key, path) of what AutoModel's loader resolves: `_target_`, and strings at keys that end in `_fn`."""
    yield from ((f"{key}._target_", section["_target_"]) for key, section in loader.built(plan.config))
    for key, value in dotted.leaves(plan.config):
        if key.endswith("_fn") and isinstance(value, str):
            yield key, value


def _bare(plan: Plan, key: str, name: str) -> Finding:
    """A class without its module, which the loader does not look for anywhere."""
    found = next(iter(schemas.load().with_name(name)), None)
    if key == "optimizer._target_" and not found:
        found = f"torch.optim.{name}"
    message = f"{describe_value(plan, key, name)} has no module, and AutoModel {schemas.VERSION} knows no short names."
    return Finding("error", "unknown-target", message, f"{key}={found or f'package.module.{name}'}")


def _in_automodel(plan: Plan, key: str, path: str) -> Iterator[Finding]:
    schema = schemas.load()
    if schema.exists(path):
        return
    owner, _, name = path.rpartition(".")
    method = f".{name}" if name in ("from_pretrained", "from_config") else ""
    wanted = owner if method else path
    known = [other for other in (*schema.data["aliases"], *schema.data["targets"]) if other.startswith("nemo_")]
    near = next(iter(schema.with_name(wanted.rpartition(".")[2])), None) or nearest(wanted, known)
    message = f"{describe_value(plan, key, path)}: AutoModel {schemas.VERSION} has no such name."
    fix = f"{key}={near}{method}" if near else "python -c 'import MODULE' in the job's environment shows what there is"
    yield Finding("error", "unknown-target", message, fix)


def _in_transformers(plan: Plan, key: str, path: str) -> Iterator[Finding]:
    """The job's transformers may be another: only what is nearly a name that this one has is an error."""
    known = [other for other in schemas.load().data["targets"] if other.startswith("transformers.")]
    parts = path.split(".")
    if len(parts) < 2 or f"transformers.{parts[1]}" in known or not parts[1].endswith("Config"):
        return
    near = nearest(path, known)
    if near and alike(path.rpartition(".")[2], near.rpartition(".")[2]):
        message = (
            f"{describe_value(plan, key, path)}: transformers {schemas.load().data['transformers']} has no such name."
        )
        yield Finding("error", "unknown-target", message, f"{key}={near}")


def _signature(key: str, path: str) -> Signature | None:
    """What AutoModel makes of the section at `key`, or None where that is not known."""
    schema = schemas.load()
    home = schema.home(path)
    if datasets.is_dataset(key):
        home = schema.data["datasets"].get(home, home)
    elif key == "optimizer" and path.startswith("dion."):
        home = schema.data["dion"].get(path.rpartition(".")[2], home)
    return schema.target(home)


def _arguments(plan: Plan, key: str, section: Mapping[str, Any], taken: Signature) -> Iterator[Finding]:
    if taken.of_a_model:
        yield from keywords(plan, key, section, taken)
        return
    top = "dataset" if key.startswith(keys.VALIDATION) else key
    given = _GIVEN.get(top, ())
    what = str(section["_target_"])
    for name, value in section.items():
        if name == "_target_" or name in given or f"{key}.{name}" in renamed.KEYS:
            continue
        if name in taken.params:
            yield from kind(plan, f"{key}.{name}", value, taken.params[name])
        elif not taken.open:
            yield unknown(plan, f"{key}.{name}", value, taken.params, what)
        elif name not in _HANDED_ON and any(alike(name, other) for other in taken.params):
            message = f"{describe_value(plan, f'{key}.{name}', value)}: {what} has no such parameter."
            yield Finding("error", "unknown-key", f"{message}{did_you_mean(name, taken.params)}", f"~{key}.{name}")
    missing = [name for name in taken.required if name not in section and name not in (*given, "tokenizer", "batch")]
    if missing and not key.endswith("_fn"):
        message = f"{describe_value(plan, key, dict(section))}: {what} needs {', '.join(missing)}."
        yield Finding("error", "missing-key", message, f"+{key}.{missing[0]}=...")


CHECKS = (exist, arguments, dataloader)
