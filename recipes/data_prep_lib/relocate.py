"""`relocate PATH`: the blend.json of outputs that were moved or copied name their shards where these are.

AutoModel reads absolute prefixes only. So a copy reads the original shards while these are there, and nothing once they
are gone; nothing is tokenized again for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep_lib.blend import moved
from data_prep_lib.errors import InputError
from data_prep_lib.safe_files import read_json, write_json


def main(path: Path) -> int:
    """Rewrite every blend.json below an output_dir, or the one that `path` is or lies beside.

    Raises:
        InputError: there is none, or a shard of it is not beside it; nothing is changed then.
    """
    found = list(_blends(path.absolute()))
    if not found:
        raise InputError(f"{path}: no output of data-prep with a blend.json is here\n  name an output_dir")
    for blend, _, wanted in found:
        for prefix in (entry for entries in wanted.values() for entry in entries if entry.startswith("/")):
            if not Path(f"{prefix}.bin").exists():
                raise InputError(f"{blend}: its shard {prefix}.bin is not there\n  copy the complete output_dir")
    for blend, value, wanted in found:
        if value != wanted:
            write_json(blend, wanted)
        state = "names its shards here now" if value != wanted else "named its shards here already"
        print(f"{blend} {state}", file=sys.stderr)
    return 0


def _blends(path: Path) -> list[tuple[Path, dict[str, list[str]], dict[str, list[str]]]]:
    """(blend.json, what it holds, what it should)."""
    if path.name == "blend.json":
        path = path.resolve().parent
    roots = (
        [path.resolve()] if (path / "record.json").exists() else sorted(p.parent for p in path.glob("*/record.json"))
    )
    found = []
    for root in dict.fromkeys(root.resolve() for root in roots):
        value = read_json(root / "blend.json")
        if isinstance(value, dict):
            found.append((root / "blend.json", value, moved(value, root.parent)))
    return found
