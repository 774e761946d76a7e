"""output_dir/latest and output_dir/blend.json: the stable names of the newest complete output.

latest      -> HASH              which of the outputs below output_dir the last complete run made or found complete
blend.json  -> latest/blend.json  what a pretraining config names

What lies in HASH/ is never changed once it is complete. A run with other weights writes its blend.json, of the same
shards, into HASH-BLEND/; the output of a sample lies in sample-HASH/, and has neither name unless that is asked for.

Both are relative; but the prefixes inside blend.json are absolute, as AutoModel takes no others, and hold the hash:
AutoModel's index cache goes by them, and so never takes the index of other data. After a move the next run, or
`relocate`, writes them anew.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep_lib.blend import relative
from data_prep_lib.errors import InputError, reading
from data_prep_lib.hashes import fingerprint
from data_prep_lib.layout import Layout
from data_prep_lib.safe_files import read_json

_HASH_DIGITS = 8
_NAMES = {"latest": "{name}", "blend.json": "latest/blend.json"}


def layout_of(output_dir: Path, identity: str, in_parts: tuple[str, ...], sample: bool = False) -> Layout:
    """Where the output with this identity lies."""
    return Layout(output_dir / f"{'sample-' if sample else ''}{identity[:_HASH_DIGITS]}", in_parts)


def with_blend(layout: Layout, blend: Mapping[str, Any] | None) -> Layout:
    """Where this blend of the output's shards belongs: beside them, unless another one stands there already."""
    known = read_json(layout.blend)
    if blend is None or not layout.record.exists() or known is None or relative(known) == relative(blend):
        return layout
    other = fingerprint(relative(blend))[:_HASH_DIGITS]
    return replace(layout, root=layout.root.with_name(f"{layout.root.name}-{other}"))


def check(output_dir: Path) -> None:
    """Refuse an output_dir in which something else has one of the two names."""
    for name in _NAMES:
        path = output_dir / name
        with reading("output_dir"):
            another = path.exists() and not path.is_symlink()
        if another:
            raise InputError(
                f"output_dir: {path} is there, and this program did not make it (each output has a directory of its own"
                f" below output_dir, and {name} points to the newest)\n  choose another output_dir, or remove it"
            )


def point(layout: Layout) -> bool:
    """Make the stable names lead to this output, each by one rename. False where they did already."""
    base, changed = layout.root.parent, False
    for name, target in _NAMES.items():
        link, wanted = base / name, target.format(name=layout.root.name)
        if name == layout.blend.name and not layout.blend.exists():  # an output of another format has none
            with suppress(FileNotFoundError):
                link.unlink()
        elif not (link.is_symlink() and os.readlink(link) == wanted):  # noqa: PTH115 (the text of the link)
            replace_link(link, wanted)
            changed = True
    return changed


def others(layout: Layout) -> list[str]:
    """Names of the other outputs below the same output_dir, without the one whose shards this one's blend names."""
    found = (p.parent for p in layout.root.parent.glob("*/.data_prep"))
    mine = (layout.root.name, layout.root.name.rpartition("-")[0])
    return sorted(p.name for p in found if p.name not in mine and not p.is_symlink())


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link elsewhere, by one rename."""
    temporary = link.with_name(f".{link.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(link)
