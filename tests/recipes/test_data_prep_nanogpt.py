"""format: nanogpt: what is written, how many files, and that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import LIMIT_S
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    config,
    documents,
    held,
    leftovers,
    make_tokenizer,
    prepare,
    write_jsonl,
)

SPLITS = ("train", "valid", "test")


def nanogpt(tmp: Path, data: Path, **changes: Any) -> dict[str, Any]:
    return config(tmp, data, format="nanogpt", **changes)  # type: ignore[no-any-return, unused-ignore]


def made(values: dict[str, Any], tmp: Path) -> Path:
    """Run the recipe; the directory with train/, valid/ and test/."""
    pattern = Path(prepare(values, tmp).stdout.strip())
    assert pattern.name == "*.bin" and pattern.parent.name == "train"
    return pattern.parents[1]


def read(path: Path) -> list[list[int]]:
    """The documents of a shard, through AutoModel's own functions."""
    from nemo_automodel.components.datasets.llm.nanogpt_dataset import _load_bos_index, load_bin_shard

    ids, starts = load_bin_shard(path).tolist(), _load_bos_index(path)
    assert starts is not None and starts[0] == 0
    ends = [*starts[1:].tolist(), len(ids)]
    return [ids[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]


def documents_of(root: Path, split: str) -> list[list[int]]:
    return [ids for path in sorted((root / split).glob("*.bin")) for ids in read(path)]


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for split in SPLITS for path in (root / split).glob("*"))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_pair(prefix: Path, of_documents: list[list[int]]) -> None:
    """A part as a worker leaves it."""
    from data_prep_lib.megatron import write_index

    prefix.parent.mkdir(parents=True, exist_ok=True)
    np.concatenate(of_documents).astype("<u2").tofile(prefix.with_name(prefix.name + ".bin"))
    write_index(prefix, np.array([len(ids) for ids in of_documents], np.int32), np.dtype("<u2"))


def encode(tokenizer: Path, texts: list[str]) -> list[list[int]]:
    """The ids that transformers gives, behind one BOS."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    ids = (loaded(text, add_special_tokens=False, truncation=False)["input_ids"] for text in texts)
    return [[loaded.bos_token_id, *of_text] for of_text in ids]


def test_automodel_reads_the_documents(tmp_path: Path) -> None:
    texts = documents(300)
    root = made(nanogpt(tmp_path, write_jsonl(tmp_path / "a.jsonl", texts)), tmp_path)
    found = {split: documents_of(root, split) for split in SPLITS}
    assert sorted(ids for of_split in found.values() for ids in of_split) == sorted(
        encode(tmp_path / "tokenizer", texts)
    )
    assert [len(found[split]) for split in SPLITS] == [224, 38, 38]  # as in the megatron format
    assert sorted(p.name for p in (root / "train").iterdir()) == ["train_00000.bin", "train_00000.bos.idx"]
    record = json.loads((root / "record.json").read_text())
    assert record["dtype"] == "uint16"
    assert record["output"]["valid"][0]["documents"] == 38
    assert record["counts"]["web"]["train"]["tokens"] == record["output"]["train"][0]["tokens"]
    assert not list((root / ".data_prep" / "parts").rglob("*.bin"))
    assert not (root / "blend.json").exists()


def test_a_large_vocabulary_is_uint32(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    raw = json.loads((tokenizer / "tokenizer.json").read_text())
    raw["added_tokens"].append({**raw["added_tokens"][0], "id": 65_600, "content": "<|far|>"})
    raw["model"]["vocab"]["<|far|>"] = 65_600
    (tokenizer / "tokenizer.json").write_text(json.dumps(raw))
    data = write_jsonl(tmp_path / "a.jsonl", ["before <|far|> after"] * 3)
    root = made(nanogpt(tmp_path, data, splits={"train": 1.0}), tmp_path)
    path = root / "train" / "train_00000.bin"
    assert all(65_600 in ids for ids in read(path))
    assert np.fromfile(path, "<i4", 4)[3] == 4
    assert {p.name for p in root.iterdir() if p.is_dir()} == {"train", ".data_prep"}


def test_without_a_bos_the_eos_begins_a_document(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text())
    del settings["bos_token"]
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    root = made(nanogpt(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(30))), tmp_path)
    found = documents_of(root, "train")
    assert {ids[0] for ids in found} == {0} and all(0 not in ids[1:] for ids in found)
    assert json.loads((root / "record.json").read_text())["tokenizer"]["bos_id"] == 0


def test_sources_are_dealt_out_evenly(tmp_path: Path) -> None:
    """NanogptDataset reads in order: each tenth of the data holds the sources in their proportion."""
    from data_prep_lib.blocks import Block, blocks_of, deal, interleave
    from data_prep_lib.megatron import read_lengths

    lengths = {"a": [20, 1, 79] * 300, "b": [10] * 1000}
    for name, of_documents in lengths.items():
        write_pair(tmp_path / name, [[7] * n for n in of_documents])
    sources = [blocks_of([tmp_path / name], block_tokens=200) for name in lengths]
    for name, blocks in zip(lengths, sources, strict=True):
        spelt = [n for b in blocks for n in read_lengths(b.part, b.first, b.documents)]
        assert spelt == lengths[name]
        assert [b.start for b in blocks] == [0, *np.cumsum([b.tokens for b in blocks])[:-1]]
    mixed = interleave(sources)
    assert sorted(mixed, key=lambda b: (b.part, b.first)) == [*sources[0], *sources[1]]
    files = deal(mixed, 10)
    assert sum(b.tokens for file in files for b in file) == 40_000
    for file in files:
        assert sum(b.tokens for b in file) == pytest.approx(4000, abs=50)
        assert sum(b.tokens for b in file if b.part.name == "a") == pytest.approx(3000, abs=250)
    again: list[Block] = [b for file in files for b in file]
    assert sum(b.documents for b in again) == 1900
    assert len({(b.part, b.first) for b in again}) == len(again)


def test_the_number_of_files_follows_the_readers() -> None:
    from data_prep_lib.nanogpt import MAX_TOKENS, number_of_files

    assert number_of_files(1000, None) == number_of_files(MAX_TOKENS, None) == 1
    assert number_of_files(MAX_TOKENS + 1, None) == 96  # nobody has said for whom: for many numbers of readers
    assert number_of_files(1000, 8) == number_of_files(32_000_000_000, 8) == 16
    assert number_of_files(32_000_000_001, 8) == 32
    for tokens in (10**9, 10**11, 10**13):
        for readers in (1, 3, 8, 64, None):
            files = number_of_files(tokens, readers)
            assert tokens / files < MAX_TOKENS
            assert files == 1 or files % (2 * (readers or 48)) == 0


def test_more_than_one_file_can_hold_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import data_prep_lib.assembly as assembly
    from data_prep_lib import nanogpt as module
    from data_prep_lib.layout import SPLITS as ALL
    from data_prep_lib.layout import Layout
    from data_prep_lib.shards import Shard

    for where in (module, assembly):
        monkeypatch.setattr(where, "MAX_TOKENS", 5000)
    monkeypatch.setattr(module, "_AIM_TOKENS", 4000)
    layout = Layout(tmp_path, ALL)
    shard = Shard("web", 0, "jsonl", "text", ())
    write_pair(layout.prefix("train", shard), [[0, *range(1, 100)]] * 10_000)
    listing = assembly.assemble(layout, [(shard, "x")], "uint16", None)["listing"]["train"]
    assert len(listing) == 288 and sum(entry["tokens"] for entry in listing) == 1_000_000
    assert max(entry["tokens"] for entry in listing) <= 5000
    assert all(ids == [0, *range(1, 100)] for entry in listing[::40] for ids in read(tmp_path / entry["file"]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    tmp = tmp_path_factory.mktemp("undisturbed")
    data = write_jsonl(tmp / "a.jsonl", documents(900))
    return data, digests(made(nanogpt(tmp, data, ranks=60, workers=1, num_shards=6), tmp))


HELD_FILE = """
import os, time
from data_prep_lib import assembly
write, files = assembly.write_file, []
def held(path, *rest):
    files.append(path)
    if len(files) > 10:
        open("{tmp}/held", "w").close()
        time.sleep(600)
    write(path, *rest)
assembly.write_file = held
"""


def test_killed_while_files_are_assembled_it_goes_on(undisturbed: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    data, expected = undisturbed
    values = nanogpt(tmp_path, data, ranks=60, num_shards=6)
    process = held(values, tmp_path, HELD_FILE)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    receipts = list(tmp_path.rglob("receipts/files/*.json"))
    assert len(receipts) == 10
    assert not list(tmp_path.rglob("record.json"))
    times = {path: path.stat().st_mtime_ns for path in receipts}

    root = made(values, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in receipts} == times
    assert digests(root) == expected
    assert not leftovers(tmp_path) and not list((root / ".data_prep").rglob("*.bin"))
    assert "nothing to do" in prepare(values, tmp_path).stderr
    (root / "valid" / "valid_00000.bin").write_bytes(b"short")
    made(values, tmp_path)
    assert digests(root) == expected


def test_no_split_appears_before_all_its_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import data_prep_lib.assembly as assembly
    from data_prep_lib.layout import SPLITS as ALL
    from data_prep_lib.layout import Layout
    from data_prep_lib.shards import Shard

    layout = Layout(tmp_path, ALL)
    shard = Shard("web", 0, "jsonl", "text", ())
    write_pair(layout.prefix("train", shard), [[0, 1, 2]] * 100)
    from data_prep_lib.nanogpt import write_file as real

    written: list[str] = []

    def write_file(path: Path, *rest: Any) -> None:
        assert not (tmp_path / "train").exists()
        written.append(path.name)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(assembly, "write_file", write_file)
    with pytest.raises(OSError):
        assembly.assemble(layout, [(shard, "x")], "uint16", 2)
    assembly.assemble(layout, [(shard, "x")], "uint16", 2)
    assert written == [f"train_0000{k}.bin" for k in (0, 1, 2, 2, 3)]
    assert len(list((tmp_path / "train").glob("*.bin"))) == 4


def test_too_little_room_for_the_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep_lib import assembly
    from data_prep_lib.blocks import Block
    from data_prep_lib.errors import RefusedError
    from data_prep_lib.layout import Layout

    free = type("Usage", (), {"free": 2_000_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    block = Block(tmp_path / "part", 0, 10, 0, 1_000_000_000)
    assembly._check_room(Layout(tmp_path), [[block]], 1)
    with pytest.raises(RefusedError, match=r"2\.00 GB free; the 1 files .* take 2\.00 GB"):
        assembly._check_room(Layout(tmp_path), [[block]], 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"add_bos": False}, ["add_bos: false", "set it to true"]),
        ({"add_eos": True}, ["add_eos", "BOS and for EOS", "leave add_eos out"]),
        ({"format": "megatron", "ranks": 8}, ["ranks: 8", "null with format: megatron"]),
        ({"ranks": 0}, ["ranks: 0", "1 or more"]),
        ({"ranks": 100}, ["ranks: 100", "make no 200 train files", "leave `ranks` out"]),
    ],
)
def test_what_the_format_cannot_do_is_refused(change: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    values = nanogpt(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)))
    said = prepare(values | change, tmp_path, code=2).stderr
    assert all(word in said for word in words), said
    assert not list(tmp_path.rglob("train/*.bin")) or "ranks: 100" in said


def test_weights_are_refused(tmp_path: Path) -> None:
    values = nanogpt(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)))
    values["datasets"][0]["weight"] = 0.5
    said = prepare(values, tmp_path, code=2).stderr
    assert "weight 0.5 of 'web'" in said and "list it twice" in said
    values["datasets"][0]["weight"] = 1
    made(values, tmp_path)


def test_the_shipped_config_writes_what_the_pretraining_config_reads(tmp_path: Path) -> None:
    from data_prep_lib.config import load_config

    configs = RECIPE.parents[1] / "configs"
    text = (configs / "data-prep" / "nanogpt.yaml").read_text().replace("${run.data_dir}", "/data")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    config = load_config(path)
    assert config.format == "nanogpt" and (config.add_bos, config.add_eos, config.ranks) == (True, False, None)
    product = config.output_dir / "latest" / "train" / "*.bin"
    pattern = yaml.safe_load((configs / "pretrain" / "nanogpt.yaml").read_text())["dataset"]["file_pattern"]
    assert pattern.replace("${run.data_dir}", "/data") == f"${{oc.env:NANOGPT_BIN_PATTERN,{product}}}"
