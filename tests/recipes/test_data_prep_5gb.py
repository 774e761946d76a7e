"""A nanoGPT output of 5 GB: beyond 2 GiB and 4 GiB, where AutoModel's own writer breaks, and beyond 2^31 tokens.

The tokenized parts are one file under many names, so that this takes a minute, and 5 GB of disk and not 10.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.recipes.data_prep_fixtures import RECIPE  # type: ignore[import-not-found, unused-ignore]
from tests.recipes.dataset_readers import Nanogpt, bos_of  # type: ignore[import-not-found, unused-ignore]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BOS = 60_000
DOCUMENT = 4001  # tokens: BOS and 4000 that count upwards from a number of the document's own
DOCUMENTS = 12_500  # a part


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    if shutil.disk_usage(tmp_path).free < 7e9:
        pytest.skip("needs 7 GB of disk")
    yield tmp_path
    shutil.rmtree(tmp_path)  # pytest would keep it


@pytest.mark.parametrize(("dtype", "parts", "files"), [("int32", 26, 1), ("uint16", 52, 96)])
def test_5_gb(dtype: str, parts: int, files: int, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep_lib.assembly import assemble
    from data_prep_lib.layout import SPLITS, Layout, pair
    from data_prep_lib.megatron import write_index
    from data_prep_lib.shards import Shard

    layout = Layout(room, SPLITS)
    shards = [Shard("web", k, "jsonl", "text", ()) for k in range(parts)]
    first, *others = (layout.prefix("train", shard) for shard in shards)
    first.parent.mkdir(parents=True)
    content = (np.arange(DOCUMENTS)[:, None] + np.arange(DOCUMENT)).astype(dtype)
    content[:, 0] = BOS
    content.tofile(first.with_name(first.name + ".bin"))
    write_index(first, np.full(DOCUMENTS, DOCUMENT, np.int32), np.dtype(dtype))
    for prefix in others:
        for path in pair(first):
            prefix.with_name(prefix.name + path.suffix).symlink_to(path)

    begin = time.monotonic()
    receipt = assemble(layout, [(shard, "x") for shard in shards], dtype, None)
    size = sum(path.stat().st_size for path in (room / "train").glob("*.bin"))
    print(f"{size / 1e9:.2f} GB in {time.monotonic() - begin:.0f} s")
    paths = sorted((room / "train").glob("*.bin"))
    assert len(paths) == files == len(receipt["listing"]["train"])
    assert size == 1024 * files + parts * DOCUMENTS * DOCUMENT * np.dtype(dtype).itemsize > 5e9

    documents = [bos_of(path) for path in paths]
    assert sum(map(len, documents)) == parts * DOCUMENTS
    seen = 0
    reader = Nanogpt(monkeypatch, paths, 1024)
    for path, starts in zip(paths, documents, strict=True):
        assert starts == list(range(0, len(starts) * DOCUMENT, DOCUMENT))
        ids = reader.module.load_bin_shard(path).numpy()
        for i in range(0, len(starts), 97):
            expected = content[(seen + i) % DOCUMENTS]
            assert (ids[starts[i] : starts[i] + DOCUMENT] == expected).all()
        seen += len(starts)

    # the last of 8 ranks begins in the last eighth: of the one file, beyond 4 GiB; or with a file of its own
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 8)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 7)
    options = {"align_to_bos": True, "bos_token": BOS}
    window = next(iter(reader.module.NanogptDataset(str(room / "train" / "*.bin"), 1024, **options)))
    ids = reader.module.load_bin_shard(paths[min(7, files - 1)])
    at = 0 if files > 1 else -(-len(ids) // 8 * 7 // DOCUMENT) * DOCUMENT
    assert window["input_ids"] == ids[at : at + 1024].tolist()

    command = [sys.executable, str(RECIPE), "inspect", str(paths[-1]), "--json"]
    inspected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["files"][0]
    assert (inspected["documents"], inspected["longest"], inspected["max_id"]) == (len(documents[-1]), DOCUMENT, BOS)
