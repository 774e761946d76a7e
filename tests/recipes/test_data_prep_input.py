"""recipes/data_prep.py: what is wrong is refused before work starts, or named as FILE:LINE."""

from __future__ import annotations

import gzip
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import data_prep
from data_prep_lib import preflight
from data_prep_lib.batches import batches
from data_prep_lib.config import SPLITS, Dataset
from data_prep_lib.errors import InputError
from data_prep_lib.framing import sizes_of, splits_of
from data_prep_lib.inputs import Source, SourceFile
from data_prep_lib.readers import ShardReader
from data_prep_lib.shards import Piece, Shard, plan_shards

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    config,
    documents,
    output,
    prepare,
    write_jsonl,
)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def check(values: Any, *words: str, code: int = 2) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
        assert data_prep.main(["--config", str(path)]) == code
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") <= 4
        assert all(word in err for word in words), err
        assert not list(tmp_path.glob("out/train/*"))

    return check


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    values: dict[str, Any] = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)))
    return values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokeniser": "x"}, ["tokeniser: unknown key", "did you mean 'tokenizer'?"]),
        ({"workers": "two"}, ["workers: 'two'", "a whole number, 1 or more"]),
        ({"workers": True}, ["workers: True", "a whole number"]),
        ({"add_eos": "yes"}, ["add_eos: 'yes'", "true or false"]),
        ({"format": "bin"}, ["format: 'bin'", "megatron"]),
        ({"on_error": "ignore"}, ["on_error: 'ignore'", "fail | skip"]),
        ({"splits": {"train": 0.9}}, ["splits", "add up to 1"]),
        ({"splits": {"trian": 1.0}}, ["splits.trian", "did you mean 'train'?"]),
        ({"output_dir": None}, ["output_dir: missing"]),
        ({"tokenizer": None}, ["tokenizer: missing"]),
        ({"datasets": []}, ["datasets: []", "at least one"]),
        ({"datasets": None}, ["datasets", "blend"]),
        ({"max_tokens": 10**400}, ["max_tokens: 1000", "a whole number"]),
        ({"num_shards": 10**30}, ["num_shards: 1000", "a whole number"]),
        ({"blend": "/nowhere.json", "datasets": None}, ["blend: cannot read /nowhere.json"]),
    ],
)
def test_bad_keys(change: dict[str, Any], words: list[str], refused: Any, good: dict[str, Any]) -> None:
    refused(good | change, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": 0}, ["datasets[0].weight: 0", "above 0"]),
        ({"weight": float("nan")}, ["datasets[0].weight: nan"]),
        ({"weight": 1e308}, ["datasets[0].weight: 1e+308", "to 1e18"]),  # the sum of two is infinite
        ({"weight": 10**400}, ["datasets[0].weight: 1000"]),
        ({"name": "../x"}, ["datasets[0].name: '../x'"]),
        ({"path": "hf://a/b/c"}, ["datasets[0].path", "hf://ORG/NAME"]),
        ({"path": "hf://"}, ["datasets[0].path", "hf://ORG/NAME"]),
        ({"split": "train"}, ["datasets[0].split", "hf://"]),
        ({"txt_field": "x"}, ["datasets[0].txt_field", "did you mean 'text_field'?"]),
        ({"path": "/nowhere/a.jsonl"}, ["'web': /nowhere/a.jsonl does not exist"]),
        ({"path": "/nowhere/*.jsonl"}, ["'web': no file matches /nowhere/*.jsonl"]),
        ({"text_field": "body"}, ["a.jsonl:1: no field 'body'; fields here: id, text"]),
        ({"text_field": "id"}, ["a.jsonl:1: field 'id' is int, not text"]),
        ({"format": "parquet"}, ["a.jsonl:1: truncated or damaged parquet file"]),
    ],
)
def test_bad_datasets(change: dict[str, Any], words: list[str], refused: Any, good: dict[str, Any]) -> None:
    refused(good | {"datasets": [good["datasets"][0] | change]}, *words)


def test_bad_config_files(refused: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("a: [1\nb: 2\n", "config.yaml:2: ")
    refused("just text", "a mapping of keys to values")
    assert data_prep.main(["--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: No such file" in capsys.readouterr().err


def test_two_datasets_of_one_name(refused: Any, good: dict[str, Any]) -> None:
    refused(good | {"datasets": good["datasets"] * 2}, "datasets[1].name: 'web'", "no other dataset")


def test_empty_and_ambiguous_data(refused: Any, good: dict[str, Any], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    dataset = {"name": "web", "path": str(data)}
    refused(good | {"datasets": [dataset]}, "no file in", "include **/*")
    (data / "a.jsonl").touch()
    refused(good | {"datasets": [dataset]}, "is empty (1 file(s), 0 bytes)")
    (data / "readme.md").write_text("hello")
    refused(good | {"datasets": [dataset]}, "is empty (1 file(s), 0 bytes)")  # a README is no data beside JSONL
    (data / "b.md").write_text("hello")
    refused(good | {"datasets": [dataset]}, "holds jsonl and text files", "`format`")


def test_bad_tokenizers(refused: Any, good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(good | {"tokenizer": str(tmp_path)}, f"{tmp_path} holds no tokenizer.json", "save_pretrained")
    refused(good | {"tokenizer": "./nowhere"}, "is not a directory")
    config_file = tmp_path / "tokenizer" / "tokenizer_config.json"
    config_file.write_text("{}")
    refused(good, "add_eos: tokenizer", "names no eos_token", "add_eos: false")
    config_file.write_text('{"eos_token": "</s>"}')
    refused(good, "'</s>' is not in its vocabulary")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    refused(good, "is not a tokenizer file")


def test_a_hub_tokenizer_that_is_not_to_be_had(
    refused: Any, good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(good | {"tokenizer": "no-such/tokenizer"}, "'no-such/tokenizer' is neither a directory here", "hub id")


def test_an_output_that_cannot_be_written(refused: Any, good: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(good | {"output_dir": str(tmp_path / "file" / "out")}, str(tmp_path / "file"), code=1)


# --- bad rows, in the middle of the work


def texts(path: Path, kind: str, on_error: str = "fail", parts: int = 1) -> tuple[list[str], list[str]]:
    """(texts, bad rows) of a file that is read in several parts."""
    source = Source(Dataset("d", str(path)), kind, (SourceFile(str(path), path.stat().st_size, 0),))
    found, bad = [], []
    for shard in plan_shards(source, parts):
        reader = ShardReader(shard, on_error)
        found += list(reader)
        assert reader.num_skipped == len(reader.skipped)
        bad += reader.skipped + [f"{lost['file']}:{lost['at']}: {lost['what']}" for lost in reader.lost]
    return found, bad


LINES = [json.dumps({"text": f"document {i}"}).encode() for i in range(500)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"text": "cut', "invalid JSON"),
        (b"[1]", "a JSON object is wanted on each line, not list"),
        (b'{"txt": "x"}', "no field 'text'; fields here: txt"),
        (b'{"text": null}', "field 'text' is null, not text"),
        (b'{"text": ["x"]}', "field 'text' is list, not text"),
        (b'{"text": "\xff"}', "invalid UTF-8 at byte 10 of the line"),
        (b'{"text": "x", "n": NaN}', "invalid JSON"),
        (b'{"text": "\\ud800"}', ""),
    ],
)
@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("orjson", [True, False])
def test_bad_lines(
    line: bytes, what: str, parts: int, suffix: str, orjson: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not orjson:
        monkeypatch.setitem(sys.modules, "orjson", None)
    data = b"\n".join([*LINES[:300], line, *LINES[300:]])
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    with pytest.raises(InputError, match=rf"a\.jsonl{suffix}:301: .*{what}"):
        texts(path, "jsonl", parts=parts)
    found, bad = texts(path, "jsonl", "skip", parts)
    assert len(found) == 500 and len(set(found)) == 500
    assert len(bad) == 1 and f":301: {what}" in bad[0]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_compressed_files(damage: str, suffix: str, parts: int, tmp_path: Path) -> None:
    import zstandard

    data = os.urandom(60_000).hex().encode()  # does not compress: half of the file is half of the lines
    lines = b"".join(b'{"text": "%s"}\n' % data[i : i + 1000] for i in range(0, len(data), 1000))
    packed = gzip.compress(lines) if suffix == ".gz" else zstandard.compress(lines)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2] if damage == "cut" else b"not compressed" * 9)
    with pytest.raises(InputError, match=rf"a\.jsonl{suffix}:\d+: truncated or damaged {suffix} file"):
        texts(path, "jsonl", parts=parts)
    found, bad = texts(path, "jsonl", "skip", parts)
    assert len(bad) == 1 and len(found) == len(set(found)) < 120


def test_bad_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", None, "three"], "n": [1, 2, 3]}), path)
    with pytest.raises(InputError, match=r"a\.parquet:2: field 'text' is null"):
        texts(path, "parquet")
    assert texts(path, "parquet", "skip")[0] == ["one", "three"]
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(InputError, match=r"a\.parquet:1: invalid UTF-8"):
        texts(path, "parquet")
    pq.write_table(pa.table({"body": ["x"], "text": [1]}), path)
    with pytest.raises(InputError, match="field 'text' is int64, not text"):
        texts(path, "parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"a\.parquet:1: truncated or damaged parquet"):
        texts(path, "parquet")


def test_bad_text_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\xff\n")
    with pytest.raises(InputError, match=r"a\.txt:2: invalid UTF-8 at byte 7"):
        texts(path, "text")


def test_a_file_that_grows_is_noticed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["x"])
    shard = Shard("d", 0, "jsonl", "text", (Piece(str(path), path.stat().st_size - 1, 0, 5),))
    with pytest.raises(InputError, match="it changed while it was read"):
        list(ShardReader(shard, "skip"))


def test_skip_gives_up_on_a_field_that_is_nowhere(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", documents(200), field="body")
    source = Source(Dataset("d", str(path)), "jsonl", (SourceFile(str(path), path.stat().st_size, 0),))
    with pytest.raises(InputError, match="none of the first 100 rows is good; set `text_field`"):
        preflight.check_rows(source, "skip")


def test_a_bad_row_ends_the_run_and_skip_goes_on_from_there(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}) for text in documents(300)]
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join([*lines[:250], "{oops", *lines[250:]]))
    values = config(tmp_path, data)
    done = prepare(values, tmp_path, code=2)
    assert f"error: {data}:251: invalid JSON" in done.stderr and "on_error: skip" in done.stderr
    done = prepare(values | {"on_error": "skip"}, tmp_path)
    assert "1 bad rows were skipped" in done.stderr and f"{data}:251" in done.stderr
    record = json.loads((output(tmp_path / "out") / "record.json").read_text())
    assert record["skipped"] == 1 and sum(s["documents"] for s in record["counts"]["web"].values()) == 300
    prepare(values, tmp_path, code=2)  # what was skipped is not taken for good by a run that is to fail


# --- rules that must never change, since finished data depends on them


def test_the_split_of_a_text_is_the_same_everywhere() -> None:
    splits = {"train": 0.5, "valid": 0.25, "test": 0.25}
    found = [SPLITS[i] for i in splits_of([str(i) for i in range(6)], splits)]
    assert found == ["train", "train", "test", "train", "valid", "train"]


def test_where_all_goes_to_one_split_no_text_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("hashlib.blake2b")
    assert splits_of(["a", "ü", ""], {"train": 1.0, "valid": 0.0, "test": 0.0}).tolist() == [SPLITS.index("train")] * 3
    assert sizes_of(["a", "ü", "", "日本", "\0"]).tolist() == [1, 2, 0, 6, 1]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "text"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("num_shards", [1, 2, 5, 64])
def test_shards_hold_each_byte_once(kind: str, suffix: str, num_shards: int) -> None:
    sizes = [0, 10, 1, 1000, 0, 37, 5, 0]
    files = tuple(SourceFile(f"{i}.x{suffix}", size, 0) for i, size in enumerate(sizes))
    shards = plan_shards(Source(Dataset("d", "x"), kind, files), num_shards)
    assert len(shards) == num_shards and sum(shard.size for shard in shards) == sum(sizes)
    for file in files:
        pieces = [p for shard in shards for p in shard.pieces if p.path == file.path]
        edges = [p.start for p in pieces] + [file.size]
        assert [p.end for p in pieces] == edges[1:] and (edges[0] == 0)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".txt"])
def test_a_huge_document_is_held_once_and_not_beside_the_next(suffix: str, tmp_path: Path) -> None:
    """While it is encoded, its text is held and not its line; when the next one is read, nothing of it."""
    text, wide = os.urandom(2_000_000).hex() + "🙂", 4 * 4_000_000  # one wide character takes four bytes for each
    data = (text if suffix == ".txt" else json.dumps({"text": text}) + "\n").encode()
    pieces = []
    for n in range(3):
        path = tmp_path / f"{n}{suffix}"
        path.write_bytes(gzip.compress(data, 1) if suffix.endswith(".gz") else data)
        size = path.stat().st_size
        pieces.append(Piece(str(path), size, 0, size, path.stat().st_mtime_ns))
    reader = ShardReader(Shard("d", 0, "text" if suffix == ".txt" else "jsonl", "text", tuple(pieces)), "fail")
    del text, data
    tracemalloc.start()
    try:
        measured = []
        for batch in batches(reader):
            measured.append(tracemalloc.get_traced_memory())
            assert len(batch[0]) == 4_000_001
            del batch
            tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    held, peaks = zip(*measured, strict=True)
    assert len(held) == 3 and max(held) < wide + 3_000_000, held
    assert max(peaks) < peaks[0] + 3_000_000, peaks
