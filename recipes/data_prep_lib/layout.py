"""Where everything lies below output_dir/HASH, the HASH being that of all that makes the output (latest.py).

blend.json, record.json                      written last; no blend.json in the nanogpt format
train/<dataset>_<shard>.{bin,idx}            one pair a shard
{valid,test}/<dataset>_<number>.{bin,idx}    one pair a dataset and GiB, joined from the parts of its shards
<split>/<split>_<number>.{bin,bos.idx}       instead of them, in the nanogpt format, from the parts of all shards
.data_prep/run.json                          what made this output
.data_prep/engine.json                       the engine of the newest run that encoded something, and how it was checked
.data_prep/receipts/<dataset>_<shard>.json   one a finished shard, held_out/<dataset>.json for valid and test pairs,
                                             files/<split>_<number>.json and assembled.json for nanogpt's files
.data_prep/claims/<dataset>_<shard>          a lock: who holds it makes the shard, where there are many nodes
.data_prep/parts/<split>/                    parts of valid and test (nanogpt: of all) until they are joined
.data_prep/staged/<split>/                   nanogpt's files until all are written
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep_lib.shards import Shard

HELD_OUT = ("valid", "test")
SPLITS = ("train", *HELD_OUT)


@dataclass(frozen=True)
class Layout:
    root: Path
    in_parts: tuple[str, ...] = HELD_OUT  # splits that are joined from parts; nanogpt: all

    @property
    def blend(self) -> Path:
        return self.root / "blend.json"

    @property
    def record(self) -> Path:
        return self.root / "record.json"

    @property
    def state(self) -> Path:
        return self.root / ".data_prep"

    @property
    def run(self) -> Path:
        return self.state / "run.json"

    @property
    def claims(self) -> Path:
        return self.state / "claims"

    @property
    def engine(self) -> Path:
        return self.state / "engine.json"

    def receipt(self, name: str) -> Path:
        return self.state / "receipts" / f"{name}.json"

    def has_receipts(self) -> bool:
        return any((self.state / "receipts").glob("*.json"))

    def prefix(self, split: str, shard: Shard) -> Path:
        """Where a worker writes a shard's part of a split."""
        base = self.state / "parts" if split in self.in_parts else self.root
        return base / split / shard.name

    def staged(self, split: str) -> Path:
        return self.state / "staged" / split

    def held_out(self, split: str, dataset: str, number: int = 0) -> Path:
        return self.root / split / f"{dataset}_{number:05d}"

    def all_held_out(self, split: str, dataset: str) -> list[Path]:
        """The prefixes of a dataset's joined pairs that are there."""
        found = (self.root / split).glob(f"{dataset}_[0-9][0-9][0-9][0-9][0-9].idx")
        return sorted(path.with_suffix("") for path in found)

    def directories(self) -> list[Path]:
        """Every directory that files are written to."""
        receipts = self.state / "receipts"
        parts = [base / split for base in (self.root, self.state / "parts", self.state / "staged") for split in SPLITS]
        return [self.root, self.state, receipts, receipts / "held_out", receipts / "files", *parts]


def pair(prefix: Path) -> list[Path]:
    """The files of a pair that exist."""
    return [path for end in (".bin", ".idx") if (path := prefix.with_name(prefix.name + end)).exists()]
