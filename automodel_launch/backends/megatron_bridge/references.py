"""What a config names outside itself: data, the tokenizer, the model's Hugging Face config, directories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automodel_launch import data_identity
from automodel_launch.backends import Config, Data, Reference
from automodel_launch.backends.megatron_bridge import keys, settings
from automodel_launch.backends.megatron_bridge.settings import Settings
from automodel_launch.config import dotted


def references(config: Config) -> Iterator[Reference]:
    """Everything that the config, or its recipe, names."""
    known = settings.of(config)
    yield from (Reference("data", key, value) for key, value in data_paths(config))
    yield from tokenizer(known)
    yield from models(known)
    yield from (Reference("output", key, path) for key, path in outputs(config))


def data_paths(config: Config) -> Iterator[tuple[str, Any]]:
    """(key, value) of what names the training data: blend.json, or prefixes in the section `dataset`."""
    blend = settings.arguments(config).get(keys.BLEND.partition(".")[2])
    if blend is not None:
        yield keys.BLEND, blend
        return
    for key in (keys.DATA_BLEND, keys.DATA_SPLITS):
        value = dotted.get(config, key)
        if value:
            yield key, value


def tokenizer(known: Settings) -> Iterator[Reference]:
    """The tokenizer that is loaded from the hub or from a directory."""
    value = known.value(keys.TOKENIZER)
    if isinstance(value, str) and known.value(keys.TOKENIZER_TYPE) == "HuggingFaceTokenizer":
        yield Reference("tokenizer", keys.TOKENIZER, value)


def models(known: Settings) -> Iterator[Reference]:
    """The Hugging Face config that the recipe asks for: of the hub, or the directory that stands for it."""
    given = dotted.get(known.config, keys.HF_CONFIGS)
    given = given if isinstance(given, Mapping) else {}
    hub = known.recipe.hub if known.recipe else None
    if hub and hub not in given:
        yield Reference("model", keys.RECIPE, hub, f"{keys.HF_CONFIGS}: {{{hub}: DIRECTORY}} in the config")
    for name, value in given.items():
        if isinstance(value, str):
            yield Reference("model", f"{keys.HF_CONFIGS}.{name}", value, hub=False)


def outputs(config: Config) -> Iterator[tuple[str, str]]:
    """(key, absolute path) of directories that the training writes."""
    for key in (keys.SAVE, keys.INDEX, "logger.tensorboard_dir"):
        path = dotted.get(config, key)
        if isinstance(path, str) and path.startswith("/") and not dotted.left_to_the_job(path):
            yield key, path


def identified(config: Config, run_dir: str) -> Data:
    """The data as files whose identity can be told; the index that is built of them, by default in the run's directory,
    where recipes/bridge_lib has it built.
    """
    named = []
    for key, value in data_paths(config):
        entries = _entries(value)
        if entries:
            named.append((data_identity.MEGATRON, key, entries))
    index = dotted.get(config, keys.INDEX) if dotted.has(config, keys.INDEX) else f"{run_dir}/index"
    known = isinstance(index, str) and index.startswith("/") and not dotted.left_to_the_job(index)
    return Data(tuple(named), (index,) if named and known else ())


def _entries(value: Any) -> Any:
    """As data_identity takes it: a path, or lists of weights and prefixes by split."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    if any(isinstance(part, list) for part in value):  # (prefixes, weights), or one such pair for each split
        pairs = [value] if _is_pair(value) else value
        return [prefix for pair in pairs if isinstance(pair, list) and pair for prefix in _prefixes(pair)]
    return value


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], list) and all(isinstance(one, str) for one in value[0])


def _prefixes(pair: list[Any]) -> list[Any]:
    return (
        [str(one) for one in pair[0]]
        if isinstance(pair[0], list)
        else [str(one) for one in pair if isinstance(one, str)]
    )
