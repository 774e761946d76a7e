"""A directory that transformers, or peft, loads: whether its files are all there, and as long as they say."""

from __future__ import annotations

import json
from pathlib import Path

from . import regular
from .formats import Damaged, read_safetensors

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
_CONFIG, _ADAPTER_CONFIG = "config.json", "adapter_config.json"


def find_faults(directory: Path) -> list[str]:
    """Everything that is wrong, one phrase each; empty for one that is complete."""
    if not directory.is_dir():
        return ["no such directory"]
    adapter = (directory / ADAPTER).exists() or (directory / _ADAPTER_CONFIG).exists()
    found = _json_faults(directory / (_ADAPTER_CONFIG if adapter else _CONFIG))
    shards = sorted(directory.glob("*.safetensors"))
    if not shards:
        return [*found, "there are no weights in it"]
    names: set[str] = set()
    readable = True
    for shard in shards:
        try:
            names |= set(read_safetensors(shard))
        except Damaged as damage:
            readable = False
            found.append(f"{shard.name}: {damage}")
    return found + _index_faults(directory, names, readable)


def _json_faults(path: Path) -> list[str]:
    try:
        json.loads(regular.text(path))
    except FileNotFoundError:
        return [f"{path.name} is missing"]
    except ValueError:
        return [f"{path.name} is not JSON"]
    return []


def _index_faults(directory: Path, names: set[str], readable: bool) -> list[str]:
    """Shards and tensors that the index names and that are not there."""
    try:
        wanted = json.loads(regular.text(directory / INDEX))["weight_map"]
        files, tensors = sorted(set(wanted.values())), set(wanted)
    except FileNotFoundError:
        return []  # of one file there need not be an index
    except (ValueError, TypeError, KeyError, AttributeError):
        return [f"{INDEX} cannot be read"]
    missing = [f"{file} is missing" for file in files if not (directory / str(file)).is_file()]
    absent = sorted(tensors - names) if readable and not missing else []
    return missing + ([f"{len(absent)} tensors of {INDEX} are in no file, such as {absent[0]}"] if absent else [])
