"""The resolved YAML file -> Config. Everything a person can get wrong in it is refused here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

from data_prep_lib import addresses, formats, schema
from data_prep_lib.errors import ConfigError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Dataset:
    """One source of a blend; the names are those of Nemotron's data_blend_raw.json."""

    name: str
    path: str
    weight: float = 1.0
    format: str | None = None
    text_field: str = "text"
    include: tuple[str, ...] = ("**/*",)
    split: str | None = None  # of hf:// datasets, as `subset`
    subset: str | None = None
    follow_links: bool = False


@dataclass(frozen=True)
class Artifact:
    """Where the manifest goes: root/name/vN/manifest.json."""

    root: Path
    name: str


@dataclass(frozen=True)
class Config:
    datasets: tuple[Dataset, ...]
    output_dir: Path
    tokenizer: str
    splits: Mapping[str, float]
    workers: int
    num_shards: int | None = None
    add_bos: bool = False
    add_eos: bool = True
    bos_token: str | None = None
    eos_token: str | None = None
    split_special_tokens: bool = False
    sample: int | None = None
    publish: bool = False
    max_tokens: int | None = None
    max_doc_tokens: int | None = None
    min_doc_chars: int = 1
    drop_blank: bool = True
    on_error: str = "fail"
    format: str = "megatron"
    artifact: Artifact | None = None
    wandb: Mapping[str, str] | None = None
    ranks: int | None = None
    engine: str = "auto"
    upload: str | None = None
    part: int | None = None

    @property
    def publishes(self) -> bool:
        """A complete output becomes the one that `latest`, blend.json and the artifact name; a sample when asked to."""
        return self.sample is None or self.publish


def _name(key: str, value: Any) -> str:
    # becomes a file name, and the last part of a prefix in a list whose numbers are taken for weights
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise schema.bad(key, value, "letters, digits, '.', '_' and '-', beginning with a letter or digit")
    return value


def _path(key: str, value: Any) -> str:
    path = schema.text(key, value)
    if path.startswith("hf://"):
        name = "hf://" + path.removeprefix("hf://").removeprefix("datasets/").rstrip("/")
        if not re.fullmatch(r"hf://(/.+|[^/@]+(/[^/@]+)?(@.+)?)", name):
            raise schema.bad(key, value, "hf://ORG/NAME, hf://ORG/NAME@REVISION, or hf:///DIRECTORY")
        return name
    if "://" in path:
        return addresses.of_input(key, path)
    return str(schema.path(key, path))


def _include(key: str, value: Any) -> tuple[str, ...]:
    patterns = value if isinstance(value, list) else [value]
    if not patterns or not all(isinstance(item, str) and item for item in patterns):
        raise schema.bad(key, value, 'a glob such as "**/*.md", or a list of globs')
    return tuple(patterns)


def _artifact(key: str, value: Any) -> Artifact:
    keys: dict[str, schema.Check] = {"root": schema.path, "name": _name}
    given = schema.closed(key, value, keys, required=("root", "name"))
    return Artifact(given["root"], given["name"])


_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")  # wandb.Settings.mode's


def _wandb(key: str, value: Any) -> dict[str, str]:
    names = ("project", "entity", "name", "mode", "dir")
    checks = dict.fromkeys(names, schema.optional(schema.text)) | {"mode": schema.optional(schema.one_of(*_MODES))}
    given = schema.closed(key, value, checks, required=("project",))
    return {name: text for name, text in given.items() if text is not None}


def _splits(key: str, value: Any) -> dict[str, float]:
    given = schema.closed(key, value, dict.fromkeys(SPLITS, schema.share))
    shares = {split: float(given.get(split, 0.0)) for split in SPLITS}
    if abs(sum(shares.values()) - 1) > 1e-6 or shares["train"] == 0:
        raise schema.bad(key, value, "shares of train, valid and test that add up to 1, train above 0")
    return shares


DATASET_KEYS: dict[str, schema.Check] = {
    "name": _name,
    "path": _path,
    "weight": schema.weight,
    "format": schema.optional(schema.one_of("jsonl", "parquet", "text")),
    "text_field": schema.text,
    "include": _include,
    "split": schema.optional(schema.text),
    "subset": schema.optional(schema.text),
    "follow_links": schema.boolean,
}


def _datasets(key: str, value: Any) -> tuple[Dataset, ...]:
    if not isinstance(value, list) or not value:
        raise schema.bad(key, value, "a list with at least one {name, path}")
    found: dict[str, Dataset] = {}
    for i, item in enumerate(value):
        checked = schema.closed(f"{key}[{i}]", item, DATASET_KEYS, required=("name", "path"))
        dataset = Dataset(**checked)
        for only_hf in ("split", "subset"):
            if checked.get(only_hf) and not dataset.path.startswith("hf://"):
                raise schema.bad(f"{key}[{i}].{only_hf}", checked[only_hf], "null, as `path` is not an hf:// dataset")
        if dataset.path.startswith("hf://") and dataset.split is None:
            dataset = replace(dataset, split="train")
        if dataset.name in found:
            raise schema.bad(f"{key}[{i}].name", dataset.name, "a name that no other dataset of the list has")
        found[dataset.name] = dataset
    return tuple(found.values())


def _blend(key: str, value: Any) -> tuple[Dataset, ...]:
    path = schema.path(key, value)
    loaded = schema.closed(str(path), read_yaml(path, key), {"datasets": lambda _, item: item}, required=("datasets",))
    return _datasets(f"{path}: datasets", loaded["datasets"])


KEYS: dict[str, schema.Check] = {
    "datasets": schema.optional(_datasets),
    "blend": schema.optional(_blend),
    "output_dir": addresses.directory,
    "upload": schema.optional(addresses.of_output),
    "tokenizer": schema.text,
    "format": schema.one_of(*formats.FORMATS),
    "ranks": schema.optional(schema.count),
    "num_shards": schema.optional(schema.count),
    "workers": schema.optional(schema.count),
    "add_bos": schema.boolean,
    "add_eos": schema.boolean,
    "bos_token": schema.optional(schema.text),
    "eos_token": schema.optional(schema.text),
    "split_special_tokens": schema.boolean,
    "splits": _splits,
    "sample": schema.optional(schema.count),
    "publish": schema.optional(schema.boolean),
    "max_tokens": schema.optional(schema.amount),
    "max_doc_tokens": schema.optional(schema.count),
    "min_doc_chars": schema.optional(schema.count),
    "drop_blank": schema.boolean,
    "on_error": schema.one_of("fail", "skip"),
    "artifact": schema.optional(_artifact),
    "wandb": schema.optional(_wandb),
    "part": schema.optional(schema.count),
    "engine": schema.one_of("auto", "fastokens", "gigatoken", "tokenizers"),
    "run": lambda key, value: None,  # the launcher's own section
}


def read_yaml(path: Path, key: str) -> Any:
    """Parse a YAML or JSON file (JSON is YAML, but json gives the better message)."""
    try:
        content = path.read_text(encoding="utf-8")
        return json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{key}: cannot read {path}: {getattr(e, 'strerror', None) or e}") from None
    except (yaml.YAMLError, json.JSONDecodeError) as e:
        mark = getattr(e, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(e, "lineno", 1)
        raise ConfigError(f"{path}:{line}: {getattr(e, 'problem', None) or getattr(e, 'msg', e)}") from None


def load_config(path: Path) -> Config:
    raw = read_yaml(path, "--config")
    values = schema.closed("", raw, KEYS, required=("output_dir", "tokenizer"))
    if (values.get("datasets") is None) == (values.get("blend") is None):
        raise ConfigError("datasets: set either `datasets` (a list of {name, path}) or `blend` (a file with that list)")
    values.pop("run", None)
    blend = values.pop("blend", None)
    values["datasets"] = values.get("datasets") or blend
    formats.settle(values, [(dataset.name, dataset.weight) for dataset in values["datasets"]])
    values.setdefault("splits", {"train": 0.98, "valid": 0.01, "test": 0.01})
    values["publish"] = bool(values.get("publish"))
    values["min_doc_chars"] = values.get("min_doc_chars") or 1
    values["workers"] = values.get("workers") or cpus()
    made = Config(**values)
    marks = made.add_bos + made.add_eos
    if made.max_doc_tokens is not None and made.max_doc_tokens <= marks:
        raise schema.bad("max_doc_tokens", made.max_doc_tokens, f"more than the {marks} of BOS and EOS, which count")
    return made


def cpus() -> int:
    """CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
