"""Where everything lies below output_dir/HASH, the HASH being that of all that makes the output (latest.py).

blend.json, record.json                      written last
train/<dataset>_<shard>.{bin,idx}            one pair a shard
{valid,test}/<dataset>_00000.{bin,idx}       one pair a dataset, joined from the parts of its shards
.data_prep/run.json                          what made this output
.data_prep/receipts/<dataset>_<shard>.json   one a finished shard, held_out/<dataset>.json for valid and test pairs
.data_prep/parts/<split>/                    parts of valid and test until they are joined
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep_lib.shards import Shard

HELD_OUT = ("valid", "test")


@dataclass(frozen=True)
class Layout:
    root: Path

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

    def receipt(self, name: str) -> Path:
        return self.state / "receipts" / f"{name}.json"

    def has_receipts(self) -> bool:
        return any((self.state / "receipts").glob("*.json"))

    def prefix(self, split: str, shard: Shard) -> Path:
        """Where a worker writes a shard's part of a split."""
        base = self.state / "parts" if split in HELD_OUT else self.root
        return base / split / shard.name

    def held_out(self, split: str, dataset: str) -> Path:
        return self.root / split / f"{dataset}_00000"

    def directories(self) -> list[Path]:
        """Every directory that files are written to."""
        receipts = self.state / "receipts"
        parts = [base / split for base in (self.root, self.state / "parts") for split in HELD_OUT]
        return [self.root, self.root / "train", self.state, receipts, receipts / "held_out", *parts]
