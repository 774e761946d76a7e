"""Both formats, counted through AutoModel's own dataset classes: no window is read twice or left out in one epoch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.data_prep_fixtures import config, documents, prepare, write_jsonl  # type: ignore[import-not-found, unused-ignore]
from tests.recipes.dataset_readers import Nanogpt, bos_of  # type: ignore[import-not-found, unused-ignore]

SEQ_LEN = 32
RANKS = (1, 2, 3, 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """The directory with blend.json, train/, ...: of both formats; nanogpt in one file (None) and for 24 readers."""
    tmp = tmp_path_factory.mktemp("readers")
    large, small = (write_jsonl(tmp / f"{n}.jsonl", documents(k, n)) for n, k in (("large", 500), ("small", 250)))
    datasets = [{"name": "large", "path": str(large)}, {"name": "small", "path": str(small)}]
    values = config(tmp, large, datasets=datasets)
    outputs: dict[Any, Path] = {}
    for key, change in {None: {}, 24: {"ranks": 24}}.items():
        done = prepare(values | change | {"format": "nanogpt", "output_dir": str(tmp / str(key))}, tmp)
        outputs[key] = Path(done.stdout.strip()).parents[1]
    # one source: with two, their weights and not their tokens say how often each is read
    one = values | {"datasets": datasets[:1], "output_dir": str(tmp / "m")}
    outputs["megatron"] = Path(prepare(one, tmp).stdout.strip()).parent
    outputs["tokenizer"] = tmp / "tokenizer"
    return outputs


@pytest.fixture
def nanogpt(request: pytest.FixtureRequest, made: dict[Any, Path], monkeypatch: pytest.MonkeyPatch) -> Nanogpt:
    return Nanogpt(monkeypatch, list((made[request.param] / "train").glob("*.bin")), SEQ_LEN)


@pytest.mark.parametrize(("nanogpt", "files"), [(None, 1), (24, 48)], indirect=["nanogpt"])
@pytest.mark.parametrize(("ranks", "workers"), [*((ranks, 0) for ranks in RANKS), (4, 2)])
def test_nanogpt_windows_are_read_once(nanogpt: Nanogpt, files: int, ranks: int, workers: int) -> None:
    assert len(nanogpt.files) == files
    nanogpt.addresses()
    readers = nanogpt.windows(ranks, workers)
    assert len(readers) == ranks * max(1, workers)
    read = Counter(token for windows in readers for window in windows for token in window)
    assert max(read.values()) == 1
    # each reader has an end in the one file; else each file has one
    ends = len(readers) if files == 1 else files
    assert nanogpt.tokens - len(read) <= ends * (SEQ_LEN + 1)
    if files == 1:
        assert max(map(len, readers)) - min(map(len, readers)) <= 1


@pytest.mark.parametrize("nanogpt", [None, 24], indirect=True)
@pytest.mark.parametrize("ranks", RANKS)
def test_nanogpt_windows_begin_at_bos(nanogpt: Nanogpt, ranks: int) -> None:
    options = {"align_to_bos": True, "bos_token": 0}  # the tokenizer's <|endoftext|>
    readers = nanogpt.windows(ranks, **options)
    assert all(windows for windows in readers)
    assert {window[0] for windows in readers for window in windows} == {0}
    nanogpt.addresses()
    found = [window[0] for windows in nanogpt.windows(ranks, **options) for window in windows]
    starts = {nanogpt.starts[str(path)] + at for path in nanogpt.files for at in bos_of(path)}
    assert len(found) == len(set(found)) == sum(map(len, readers))
    assert set(found) <= starts


@pytest.mark.parametrize("nanogpt", [24], indirect=True)
@pytest.mark.parametrize(("files", "ranks", "share"), [(2, 2, 0.5), (8, 8, 0.125), (3, 2, 0.83), (3, 8, 1.0)])
def test_why_the_number_of_files_matters(nanogpt: Nanogpt, files: int, ranks: int, share: float) -> None:
    """What AutoModel 0.7.0 does with other numbers: the reason for the rule in nanogpt.py."""
    there = nanogpt.starts[str(nanogpt.files[files])]
    nanogpt.files = nanogpt.files[:files]
    nanogpt.addresses()
    read = Counter(token for windows in nanogpt.windows(ranks) for window in windows for token in window)
    assert len(read) / there == pytest.approx(share, abs=0.06)
    if (files, ranks) == (3, 8):
        assert max(read.values()) > 4  # nothing is left out, but most is read again and again


@pytest.mark.parametrize("weighted", [False, True])
def test_megatron_windows_are_read_once(weighted: bool, made: dict[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of each shard of blend.json, with its weights and without (as a validation reads it).

    AutoModel rounds each shard's share of the samples up to a whole one, and draws the one too many from the shard's
    next epoch. So a weighted blend is asked for one sample a shard less than it has windows: at most two stay out.
    """
    import numpy as np
    from data_prep_lib.megatron import read_lengths
    from nemo_automodel.components.datasets.llm.megatron.indexed_dataset import IndexedDataset
    from nemo_automodel.components.datasets.llm.megatron.sampler import MegatronPretrainingSampler
    from nemo_automodel.components.datasets.llm.megatron_dataset import MegatronPretraining
    from transformers import AutoTokenizer

    blend = json.loads((made["megatron"] / "blend.json").read_text())["train"]
    lengths = {prefix: read_lengths(Path(prefix)) for prefix in blend[1::2]}
    sizes = {prefix: int(of_documents.sum()) for prefix, of_documents in lengths.items()}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    windows = sum((tokens - 1) // SEQ_LEN for tokens in sizes.values())
    built = MegatronPretraining(
        paths={"train": blend if weighted else blend[1::2]},
        seq_length=SEQ_LEN,
        tokenizer=AutoTokenizer.from_pretrained(made["tokenizer"]),
        num_train_samples=windows - len(sizes) if weighted else None,
        splits_to_build="train",
    )
    built.build()
    train = built.get_dataset("train")

    def address(self: Any, idx: int, offset: int = 0, length: int | None = None) -> Any:
        first = starts[self.path_prefix] + int(lengths[self.path_prefix][:idx].sum())
        last = int(lengths[self.path_prefix][idx]) if length is None else offset + length
        return np.arange(first + offset, first + last)

    monkeypatch.setattr(IndexedDataset, "get", address)
    per_rank = {}
    for ranks in RANKS:
        samplers = [MegatronPretrainingSampler(len(train), 1, r, ranks, global_batch_size=ranks) for r in range(ranks)]
        per_rank[ranks] = [i for sampler in samplers for batch in sampler for i in batch]
        assert sorted(per_rank[ranks]) == list(
            range(len(train) // ranks * ranks)
        )  # a last batch that is not full aside
    read = Counter(token for i in per_rank[1] for token in train[i]["input_ids"].tolist())
    assert max(read.values()) == 1
    out = 2 * len(sizes) if weighted else 0
    assert windows - out <= len(train) <= windows
    assert len(read) == len(train) * SEQ_LEN
