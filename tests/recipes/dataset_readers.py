"""AutoModel's own dataset classes as N data-parallel ranks would use them, without starting N processes.

Tokens are replaced by their addresses (0, 1, 2, ... over all files), so that a window says what it holds of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def bos_of(path: Path) -> list[int]:
    import numpy as np

    return [int(i) for i in np.fromfile(path.with_suffix(".bos.idx"), "<i4")]


class Nanogpt:
    """NanogptDataset over some files; `windows` is one epoch of every reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: list[Path], seq_len: int) -> None:
        from nemo_automodel.components.datasets.llm import nanogpt_dataset

        self.module: Any = nanogpt_dataset
        self.files, self.seq_len = sorted(files), seq_len
        self._monkeypatch = monkeypatch
        sizes = [len(self.module.load_bin_shard(path)) for path in self.files]
        self.starts = {str(path): sum(sizes[:i]) for i, path in enumerate(self.files)}
        self.tokens = sum(sizes)

    def addresses(self) -> None:
        """From now on the files hold their addresses."""
        import torch

        real = self.module.load_bin_shard

        def load(path: Any) -> Any:
            start = self.starts[str(path)]
            return torch.arange(start, start + len(real(path)), dtype=torch.int64)

        self._monkeypatch.setattr(self.module, "load_bin_shard", load)

    def windows(self, ranks: int, workers: int = 0, **options: Any) -> list[list[list[int]]]:
        """For each reader (rank, data loader worker) the windows of its first epoch: seq_len ids and the next one."""

        class OneEpoch(self.module.NanogptDataset):  # type: ignore[misc, name-defined, unused-ignore]
            def _get_file_iterator(self, files: list[str], rng: Any, *where: Any) -> Iterator[dict[str, list[int]]]:
                for file in files:
                    yield from self._process_file_tokens(file, *where)

        self._monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        self._monkeypatch.setattr("torch.distributed.get_world_size", lambda: ranks)
        found = []
        for reader in range(ranks * max(1, workers)):
            rank, worker = divmod(reader, max(1, workers))
            info = SimpleNamespace(id=worker, num_workers=workers) if workers else None
            self._monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
            self._monkeypatch.setattr(self.module, "get_worker_info", lambda info=info: info)
            data = OneEpoch([str(path) for path in self.files], self.seq_len, **options)
            found.append([[*window["input_ids"], window["labels"][-1]] for window in data])
        return found
