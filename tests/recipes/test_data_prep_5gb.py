"""A nanoGPT output of 5 GB: beyond 2 GiB and 4 GiB, where AutoModel's own writer breaks. Needs 11 GB of disk."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.recipes.data_prep_fixtures import RECIPE, command, config  # type: ignore[import-not-found, unused-ignore]
from tests.recipes.dataset_readers import Nanogpt, bos_of  # type: ignore[import-not-found, unused-ignore]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TOKENS = 1_300_000_000  # of 4 bytes
WORDS = 4_000  # a document
DOCUMENTS = 500  # a file
BOS = 70_000


def make_tokenizer(directory: Path) -> None:
    """One token a word, the quickest there is, and one id that needs 4 bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{i}": i for i in range(1000)} | {"<|begin|>": BOS}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|begin|>"}))


def test_5_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.disk_usage(tmp_path).free < 12e9:
        pytest.skip("needs 12 GB of disk")
    make_tokenizer(tmp_path / "tokenizer")
    data = tmp_path / "data"
    data.mkdir()
    with (data / "0.jsonl").open("w") as file:
        for i in range(DOCUMENTS):
            words = (f"w{(i * 7 + j * 13) % 1000}" for j in range(WORDS))
            file.write(json.dumps({"text": " ".join(words)}) + "\n")
    repeats = -(-TOKENS // ((WORDS + 1) * DOCUMENTS))
    for i in range(1, repeats):  # the same documents again and again, without their disk
        (data / f"{i}.jsonl").symlink_to("0.jsonl")
    values = config(tmp_path, data / "*.jsonl", format="nanogpt", num_shards=None, splits={"train": 1.0}, add_eos=False)
    done = subprocess.run(command(values, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    pattern = Path(done.stdout.strip())
    [path] = pattern.parent.glob("*.bin")
    documents = repeats * DOCUMENTS
    assert path.stat().st_size == 1024 + 4 * documents * (WORDS + 1) > 5e9
    starts = np.array(bos_of(path))
    assert (starts == np.arange(documents) * (WORDS + 1)).all()

    reader = Nanogpt(monkeypatch, [path], 1024)
    ids = reader.module.load_bin_shard(path)
    rng = np.random.default_rng(0)
    for i in [0, documents - 1, *rng.integers(documents, size=2000)]:
        start = int(starts[i])
        assert ids[start] == BOS
        first = int(ids[start + 1])  # says which document it is, up to the thousand ids
        assert ids[start + 1 : start + WORDS + 1].tolist() == [(first + j * 13) % 1000 for j in range(WORDS)]
    inspect = [sys.executable, str(RECIPE), "inspect", str(path), "--json"]
    inspected = json.loads(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)["files"][0]
    assert (inspected["documents"], inspected["min_id"], inspected["max_id"]) == (documents, 0, BOS)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"largest process: {peak:.0f} MB")
    assert peak < 1000

    # the last reader of 8 begins in the last eighth, beyond 4 GiB
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 8)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 7)
    window = next(iter(reader.module.NanogptDataset(str(pattern), 1024, align_to_bos=True, bos_token=BOS)))
    at = int(starts[np.searchsorted(starts, len(ids) // 8 * 7)])
    assert at * 4 > 2**32 and window["input_ids"] == ids[at : at + 1024].tolist()
