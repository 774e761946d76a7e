"""Backend `conversion`: weights from one format to another, which trains nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract
from automodel_launch.backends import Config, Reference
from automodel_launch.backends.data import facts, paths, weights
from automodel_launch.backends.data.facts import DataFacts
from automodel_launch.backends.noise import Noise, of_libraries
from automodel_launch.backends.plain import Plain
from automodel_launch.config import dotted
from automodel_launch.plan.describe import describe, describe_value
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.suggest import alike, completed, nearest

_KEYS = ("direction", "source", "output", "step", "hf", "dtype", "trust_remote_code")
_DIRECTIONS = ("megatron-to-hf", "hf-to-megatron")
_DTYPES = ("float32", "bfloat16", "float16")
_SHORT = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}

BRIDGES = (
    *("DeciLMForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"),
    *("Gemma3ForConditionalGeneration", "GemmaForCausalLM", "Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration"),
    *("GptOssForCausalLM", "LlamaForCausalLM", "Mistral3ForConditionalGeneration", "MistralForCausalLM"),
    *("NemotronForCausalLM", "NemotronHForCausalLM", "NemotronH_Nano_VL_V2", "OlmoeForCausalLM", "Qwen2ForCausalLM"),
    *("Qwen2_5_VLForConditionalGeneration", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM"),
    *("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
)
"""Architectures that Megatron-Bridge 0.3.1 registers (register_bridge in its models/)."""

_SOURCE = "source=RUN_DIR/checkpoints, or one iter_N of them"
_KEPT = ("hf_config", "config.json")  # what a run's recipe was given as the model's configuration
_LATEST = contract.MEGATRON_LATEST[0]  # beside a checkpoint of Megatron's that is whole


class Conversion(Plain):
    """Implements backends.Backend."""

    def noise(self) -> Noise:
        """What transformers and what it imports print."""
        return of_libraries()

    def references(self, config: Config) -> Iterator[Reference]:
        """What is in Hugging Face's format: a directory or a hub id."""
        key = "source" if config.get("direction") == _DIRECTIONS[1] else "hf"
        if isinstance(config.get(key), str):
            yield Reference("model", key, config[key])
        if str(config.get("output")).startswith("/"):
            yield Reference("output", "output", config["output"])

    def promises(self, plan: Plan) -> Mapping[str, str]:
        """The weights that it writes, by their format."""
        name = "hf" if plan.config.get("direction") == _DIRECTIONS[0] else "checkpoint"
        return {"path": str(plan.config.get("output")), name: str(plan.config.get("output"))}

    def checks(self, plan: Plan) -> Iterator[Finding]:
        """The config's few values, and directories that this machine sees."""
        yield from _values(plan)
        yield from super().checks(plan)
        yield from _checkpoint(plan)
        yield from _whole(plan)
        yield from _architecture(plan)
        yield from _taken(plan)
        if plan.config.get("direction") == _DIRECTIONS[1]:
            yield from weights.check(plan, "source", plan.config.get("source"), pickled=False)
            yield from _unread(plan)

    def _request(self, plan: Plan) -> facts.Request:
        folders = [one.value for one in paths.folders(plan, self.references(plan.config))]
        return facts.Request(folders=tuple(dict.fromkeys([*folders, *_checkpoints(plan)])), writable=_outputs(plan))

    def _judged(self, plan: Plan, data: DataFacts) -> Iterator[Finding]:
        yield from super()._judged(plan, data)
        for path in _checkpoints(plan):
            if data.about("folders", path).get("missing"):
                message = f"{describe(plan, 'source')}: no such directory{paths.outside(plan, path)}."
                yield Finding("error", "no-model", message, _SOURCE)
        for path in _outputs(plan):
            unwritable = paths.unwritable(plan, "output", path, data)
            if unwritable:
                yield Finding("error", "checkpoint-dir", unwritable, "output=${run.dir}/NAME, or another directory")


def _checkpoints(plan: Plan) -> list[str]:
    """The directory of Megatron's that is read, where it is a path of the job's."""
    source = plan.config.get("source")
    if not isinstance(source, str) or not source.startswith("/") or plan.config.get("direction") != _DIRECTIONS[0]:
        return []
    return [] if dotted.left_to_the_job(source) else [source]


def _outputs(plan: Plan) -> tuple[str, ...]:
    path = plan.config.get("output")
    return (path,) if isinstance(path, str) and path.startswith("/") and not dotted.left_to_the_job(path) else ()


def _seen(plan: Plan, value: Any) -> Path | None:
    """Where a directory is on this machine, if it can be read, and no job makes it before this one begins."""
    place = weights.seen(plan, value)
    try:
        return place if place and place.is_dir() and os.access(place, os.R_OK | os.X_OK) else None
    except OSError:
        return None


def _unread(plan: Plan) -> Iterator[Finding]:
    """Keys of the other direction."""
    for key in (one for one in ("step", "hf") if plan.config.get(one) is not None):
        message = f"{describe(plan, key)} is of {_DIRECTIONS[0]}; {_DIRECTIONS[1]} does not read it."
        yield Finding("warning", "ignored-key", message, f"~{key}")


def _checkpoint(plan: Plan) -> Iterator[Finding]:
    """What is read of Megatron's (recipes/bridge_lib/conversion.py: settle)."""
    source, step = plan.config.get("source"), plan.config.get("step")
    folder = _seen(plan, source) if plan.config.get("direction") == _DIRECTIONS[0] else None
    if folder is None or dotted.left_to_the_job(step):
        return
    is_one = contract.MEGATRON_CHECKPOINT.fullmatch(folder.name) is not None
    found = [] if is_one else sorted(one.name for one in folder.glob("iter_*"))
    wanted = f"iter_{step:07d}" if type(step) is int and step >= 0 else None
    if not is_one and not found:
        message = f"{describe(plan, 'source')}: there is no checkpoint (iter_N) in it."
        yield Finding("error", "no-model", message, _SOURCE)
    elif wanted and wanted not in found:
        message = f"{describe(plan, 'step')}: there is no {wanted} in {source}."
        last = f"; the last one is {found[-1]}" if found else ""
        yield Finding("error", "no-model", message, f"~step for the newest complete checkpoint{last}")
    elif not plan.config.get("hf") and not os.path.isfile(Path(folder.parent if is_one else folder, *_KEPT)):  # noqa: PTH113
        message = f"hf is not given, and there is no {'/'.join(_KEPT)} beside the checkpoints of {source}."
        yield Finding(
            "error", "missing-key", message, "+hf=DIR with the model's config.json and tokenizer, or a hub id"
        )


def _whole(plan: Plan) -> Iterator[Finding]:
    """A save of Megatron's that came to no end, or a directory of its name without content."""
    source, step = plan.config.get("source"), plan.config.get("step")
    folder = _seen(plan, source) if plan.config.get("direction") == _DIRECTIONS[0] else None
    if folder is None or dotted.left_to_the_job(step):
        return
    alone = contract.MEGATRON_CHECKPOINT.fullmatch(folder.name)
    wanted = f"iter_{step:07d}" if type(step) is int else "iter_*"
    found = [folder] if alone else [one for one in sorted(folder.glob(wanted)) if one.is_dir()]
    if found and not any(contract.is_saved(one.name, weights.names_in(one)) for one in found):
        there = weights.names_in(found[-1])
        lacks = next(part for part in contract.MEGATRON_PARTS if part not in there)
        message = f"{describe(plan, 'source')}: {found[-1].name} is no complete checkpoint (there is no {lacks})"
        yield Finding("error", "no-model", f"{message}{', nor is another' if found[1:] else ''}.", _SOURCE)


def _architecture(plan: Plan) -> Iterator[Finding]:
    """One that Megatron-Bridge has no bridge for; a model with code of its own (auto_map) brings its name along."""
    key = "source" if plan.config.get("direction") == _DIRECTIONS[1] else "hf"
    folder = weights.seen(plan, plan.config.get(key))
    config = weights.config(folder) if folder else None
    names = config.get("architectures") if config and not config.get("auto_map") else None
    if isinstance(names, list) and names and not set(map(str, names)) & set(BRIDGES):
        message = f"{describe(plan, key)}: {', '.join(map(str, names))}: Megatron-Bridge 0.3.1 has no bridge for it."
        near = nearest(str(names[0]), BRIDGES)
        meant = f"{near}, if that is what it is; " if near and alike(near, str(names[0])) else ""
        yield Finding("error", "no-model", message, f"{meant}a model of one of {', '.join(BRIDGES)}")


def _taken(plan: Plan) -> Iterator[Finding]:
    """A complete output is left alone, and one with something else in it refused."""
    output = _seen(plan, plan.config.get("output"))
    if output is None:
        return
    names = {one.name for one in output.iterdir()}
    whole = "config.json" if plan.config.get("direction") == _DIRECTIONS[0] else _LATEST
    if names and whole not in names:
        message = f"{describe(plan, 'output')}: there is something else in it ({min(names)})."
        yield Finding("error", "bad-value", message, "output=DIR, one that is empty or not there yet")
    elif names and _is_part(plan, names):
        message = f"{describe(plan, 'output')}: a part of a conversion is in it, and not all of it."
        yield Finding("error", "bad-value", message, "remove it; or output=DIR, one that is empty or not there yet")


def _is_part(plan: Plan, names: set[str]) -> bool:
    """The job looks closer, and refuses it, too."""
    if plan.config.get("direction") == _DIRECTIONS[0]:
        return any(weights.check(plan, "output", plan.config.get("output"), pickled=False))
    return not any(contract.MEGATRON_CHECKPOINT.fullmatch(name) for name in names)


def _values(plan: Plan) -> Iterator[Finding]:
    config = plan.config
    for key in sorted(set(config) - {*_KEYS, "run"}):
        message = f"{describe(plan, key)}: the conversion takes no such key, and stops at it."
        yield Finding("error", "unknown-key", message, f"~{key}; there is {', '.join(_KEYS)}")
    yield from _named(plan, "direction", _DIRECTIONS)
    if config.get("dtype") is not None:
        yield from _named(plan, "dtype", _DTYPES)
    step = config.get("step")
    if step is not None and not dotted.left_to_the_job(step) and (type(step) is not int or step < 0):
        message = f"{describe(plan, 'step')} is not a number of iterations."
        yield Finding("error", "wrong-type", message, "step=1000, or ~step for the newest complete checkpoint")
    trusts = config.get("trust_remote_code")
    if trusts is not None and not isinstance(trusts, bool) and not dotted.left_to_the_job(trusts):
        message = f"{describe(plan, 'trust_remote_code')} is not true or false; it is taken for false."
        yield Finding("error", "wrong-type", message, "trust_remote_code=true")
    for key in ("source", "output"):
        yield from _path(plan, key)


def _named(plan: Plan, key: str, known: tuple[str, ...]) -> Iterator[Finding]:
    value = plan.config.get(key)
    if value not in known and not dotted.left_to_the_job(value):
        near = _SHORT.get(str(value)) or completed(str(value), list(known)) or known[0]
        message = f"{describe_value(plan, key, value)}: there is {', '.join(known)}."
        yield Finding("error", "bad-value", message, f"{key}={near}")


def _path(plan: Plan, key: str) -> Iterator[Finding]:
    value = plan.config.get(key)
    if not isinstance(value, str) or not value:
        yield Finding("error", "missing-key", f"{key} is not the path of a directory.", f"{key}=DIR")
    elif dotted.left_to_the_job(value) or value.startswith("/"):
        return
    elif key == "output" or plan.config.get("direction") == _DIRECTIONS[0]:  # else a hub id, or found by _judged
        if value.startswith("~"):
            message = (
                f"{describe(plan, key)}: ~ is not expanded, so it is a directory of that name beside the job's code."
            )
            yield Finding("error", "relative-path", message, f"{key}={os.path.expanduser(value)}")  # noqa: PTH111
        else:
            yield paths.relative(describe(plan, key), value)


BACKEND: backends.Backend = Conversion()
