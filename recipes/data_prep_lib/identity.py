"""What makes an output what it is. Another tokenizer, format or input is another output, never a mixture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from data_prep_lib.config import Config
from data_prep_lib.errors import InputError
from data_prep_lib.inputs import Source
from data_prep_lib.layout import Layout
from data_prep_lib.safe_files import read_json, write_json
from data_prep_lib.shards import Shard
from data_prep_lib.vocab import TokenizerFiles

# Raise it when the same input would give other bytes: then a new output begins, and old shards are never mixed with it.
_RULES = 2  # 2: blank documents are dropped, files are told by their names below the dataset's path
# Without on_error: a shard that was finished without a bad row is the same under both.
_OPTIONS = (
    *("add_bos", "add_eos", "split_special_tokens", "sample", "max_tokens", "max_doc_tokens", "min_doc_chars"),
    "drop_blank",
)


def describe(
    config: Config, files: TokenizerFiles, sources: Sequence[Source], shards: Sequence[Shard]
) -> dict[str, Any]:
    """Everything that the bytes of the shards depend on. Weights, workers and paths of the output are not among it."""
    counts = {s.dataset.name: sum(shard.dataset == s.dataset.name for shard in shards) for s in sources}
    return {
        "rules": _RULES,
        "format": config.format,
        "tokenizer": {"sha256": files.sha256, "eos": files.eos_token, "bos": files.bos_token},
        "options": {
            **{key: getattr(config, key) for key in _OPTIONS},
            **({"ranks": config.ranks} if config.format == "nanogpt" else {}),
            "splits": dict(config.splits),
            **_order(config),
        },
        "datasets": {
            source.dataset.name: {
                "format": source.format,
                "text_field": source.dataset.text_field,
                "num_shards": counts[source.dataset.name],
                "files": [[file.name or file.path, file.size, file.state] for file in source.files],
            }
            for source in sources
        },
    }


def _order(config: Config) -> dict[str, Any]:
    """Weights and order of the datasets, where the shards themselves depend on them."""
    shared_out, mixed = config.max_tokens is not None, config.format == "nanogpt"
    if len(config.datasets) == 1 or not (shared_out or mixed):
        return {}
    return {"order": [[d.name, d.weight] if shared_out else d.name for d in config.datasets]}


def claim(layout: Layout, identity: dict[str, Any]) -> None:
    """Take the directory for this identity, or refuse because its shards belong to another."""
    # looked at before run.json, which is written before them
    begun = layout.blend.exists() or (layout.root / "train").exists()
    known = read_json(layout.run)
    if known is None and begun:
        raise InputError(f"output_dir: {layout.root} holds shards that this program did not make\n{_OTHER}")
    if known is None or not layout.has_receipts():
        write_json(layout.run, identity)
    elif changed := changes(known, json.loads(json.dumps(identity))):
        raise InputError(f"output_dir: {layout.root} was made with other {', '.join(changed)}\n{_OTHER}")


_OTHER = "  choose another output_dir, or delete this one, so that no old shard is mixed with new ones"


def changes(old: Any, new: Any, key: str = "") -> list[str]:
    """The keys below which two identities differ, such as tokenizer.sha256."""
    if old == new:
        return []
    if key.count(".") < 2 and isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        return [c for k in keys for c in changes(old.get(k), new.get(k), f"{key}.{k}" if key else str(k))]
    return [key]
