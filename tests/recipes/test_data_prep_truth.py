"""recipes/data_prep.py: its input is complete, or the run says no; what is not in the output is counted and said."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from data_prep_lib import closing, compressed, readers
from data_prep_lib.config import Config, Dataset
from data_prep_lib.errors import InputError
from data_prep_lib.inputs import Source, find_source
from data_prep_lib.readers import ShardReader
from data_prep_lib.shards import plan_shards

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    config,
    documents,
    output,
    prepare,
    write_jsonl,
)


def source_of(path: Path | str, **options: Any) -> Source:
    return find_source(Dataset("web", str(path), **options), Path("/nonexistent"))


def read(source: Source, on_error: str = "fail", parts: int = 1) -> tuple[list[str], list[dict[str, Any]]]:
    """(texts, what was lost of damaged files)."""
    found, lost = [], []
    for shard in plan_shards(source, parts):
        reader = ShardReader(shard, on_error)
        found += list(reader)
        lost += reader.lost
    return found, lost


def names(source: Source) -> list[str]:
    return [file.name for file in source.files]


# --- 1: a file that is not what was planned


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"the", b"THE"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, 1))
    other.replace(path)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"text": "one more"}\n')


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("change", [cut, rewrite, replace, grow, Path.unlink])
def test_a_file_that_changes_while_it_is_read(
    change: Callable[[Path], None], suffix: str, on_error: str, tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", documents(300))
    if suffix:
        path = path.rename(f"{path}.gz")
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    rows = iter(ShardReader(plan_shards(source_of(path), 1)[0], on_error))
    next(rows)
    change(path)
    with pytest.raises(InputError, match=r"it changed while it was read|No such file .* while it was read"):
        list(rows)


def test_a_file_that_ends_before_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system still tells the old size: NFS caches it."""
    path = write_jsonl(tmp_path / "a.jsonl", documents(50))
    source = source_of(path)
    state = (path.stat().st_size, path.stat().st_mtime_ns)
    monkeypatch.setattr(readers, "state_of", lambda _: state)
    cut(path)
    for parts in (1, 3):
        with pytest.raises(InputError, match=r"it ended at byte \d+ of \d+|invalid JSON"):
            read(source, parts=parts)
        with pytest.raises(InputError, match=r"it ended at byte \d+ of \d+"):
            read(source, "skip", parts)


@pytest.mark.parametrize("limit", [{"sample": 2}, {"max_tokens": 40}])
def test_a_run_that_leaves_a_file_early_looks_too(
    limit: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", documents(1300))  # more than a batch
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        "from data_prep_lib import megatron\n"
        "add = megatron.PairWriter.add\n"
        f"def grown(self, *a):\n    os.utime({str(path)!r}, ns=(0, 1)); return add(self, *a)\n"
        "megatron.PairWriter.add = grown\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(readers.__file__).parents[1]}"}
    done = prepare(config(tmp_path, path, num_shards=1, workers=1, **limit), tmp_path, code=2, env=environ)
    assert "it changed while it was read (its time, not its size)" in done.stderr
    assert not list((tmp_path / "out").rglob("*.bin"))


# --- 2 and 3: directories


def test_a_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "data" / "open" / "a.jsonl", ["x"])
    write_jsonl(tmp_path / "data" / "shut" / "b.jsonl", ["y"])
    scandir = os.scandir

    def refusing(path: str) -> Any:  # root may read everything
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for path in (tmp_path / "data", f"{tmp_path}/data/**/*.jsonl", f"{tmp_path}/data/*/*.jsonl"):
        with pytest.raises(InputError, match=r"data/shut cannot be read: Permission denied\n.*would be missing"):
            source_of(path)
    assert names(source_of(tmp_path / "data", include=("open/*",))) == ["open/a.jsonl"]


def test_links(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_jsonl(data / "a" / "1.jsonl", ["x"])
    write_jsonl(tmp_path / "else" / "2.jsonl", ["y"])
    (data / "a" / "loop").symlink_to(data)
    (data / "b").symlink_to(tmp_path / "else")
    (tmp_path / "else" / "back").symlink_to(data)
    found = source_of(data)
    assert names(found) == ["a/1.jsonl"]
    assert found.notes == (
        f"dataset 'web': 2 links to directories were not followed, the first: {data}/a/loop (follow_links: true)",
    )
    assert names(source_of(f"{data}/*/*.jsonl")) == ["a/1.jsonl", "b/2.jsonl"]  # as in a shell
    assert names(source_of(data, follow_links=True)) == ["a/1.jsonl", "b/2.jsonl"]
    (data / "c.jsonl").symlink_to("a/1.jsonl")
    os.link(data / "a" / "1.jsonl", data / "d.jsonl")
    found = source_of(data)
    assert names(found) == ["a/1.jsonl"]
    assert "2 files are others by another name, and taken once" in found.notes[1]


def test_patterns_are_those_of_glob(tmp_path: Path) -> None:
    import glob

    for name in ("a.md", "x/b.md", "x/y/c.md", "x/.hidden/d.md", "x/y/.e.md", "x/f[1].md", "z.d/g.md", "x/y/z/h.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    patterns = (
        "**/*",
        "**",
        "*",
        "*/*.md",
        "**/y/**/*.md",
        "x/**",
        "x/f[[]1].md",
        "**/.e.md",
        "?.md",
        "x/*/c.md",
        "./*.md",
    )
    for pattern in patterns:
        expected = {
            p
            for p in glob.glob(  # noqa: PTH207
                pattern, root_dir=tmp_path, recursive=True
            )
            if (tmp_path / p).is_file()
        }
        try:
            found = set(names(source_of(tmp_path, include=(pattern,), format="text")))
        except InputError:
            found = set()
        assert found == {os.path.normpath(p) for p in expected}, pattern


# --- 4: formats


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("part-00000", '{"text": "x"}\n', "does not say what is in it; it looks like JSONL"),
        ("part-00000", "PAR1", "it looks like parquet"),
        ("code.py", "x = 1", "does not say what is in it\n  set its `format`"),
        ("a.csv", "a,b\n", "is CSV, which is not read"),
        ("a.csv.gz", "a,b\n", "is CSV, which is not read"),
        ("a.arrow", "x", "is Arrow, which is not read"),
        ("a.tar.gz", "x", "is an archive, which is not read\n  unpack it"),
        ("a.jsonl.lz4", "x", "is compressed in a way that is not read"),
    ],
)
def test_what_is_not_read_is_named(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(InputError) as refused:
            source_of(path)
        assert words in str(refused.value) and str(tmp_path / name) in str(refused.value)


def test_side_files_are_left_out_with_a_line(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["x"])
    for name in ("README.md", "LICENSE", "SHA256SUMS"):
        (tmp_path / name).write_text("x")
    found = source_of(tmp_path)
    assert names(found) == ["a.jsonl"] and "LICENSE and 2 more: left out" in found.notes[0]
    (tmp_path / "part-0").write_text('{"text": "y"}\n')
    (tmp_path / "b.parquet").write_text("PAR1")
    found = source_of(tmp_path, format="jsonl")
    assert names(found) == ["a.jsonl", "part-0"] and "b.parquet: left out, as it is not jsonl" in found.notes[1]
    text = tmp_path / "docs"
    text.mkdir()
    (text / "README.md").write_text("one")
    (text / "b.md").write_text("two")
    assert read(source_of(text))[0] == ["one", "two"]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_of_several_members(suffix: str, tmp_path: Path) -> None:
    import zstandard

    pack: Any = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}[suffix]
    texts = documents(300)
    lines = [json.dumps({"text": text}).encode() + b"\n" for text in texts]
    path = tmp_path / f"a.jsonl{suffix}"
    padding = b"\0" * 40_000 if suffix == ".gz" else b""  # as tapes have it; more than is read at once
    path.write_bytes(pack(b"".join(lines[:100])) + padding + pack(b"".join(lines[100:])) + padding)
    for parts in (1, 5):
        assert sorted(read(source_of(path), parts=parts)[0]) == sorted(texts)
    path.write_bytes(b"")
    with compressed.open_stream(str(path)) as (stream, _):
        assert stream.read() == b""


def test_a_json_array_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in ('[{"text": "x"}, {"text": "y"}]', '[\n  {"text": "x"}\n]\n'):
        path.write_text(content)
        for on_error in ("fail", "skip"):
            with pytest.raises(InputError, match=r"one JSON array.*\n.*jq -c"):
                read(source_of(path), on_error)


def test_a_field_inside_an_object_and_binary_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"meta": {"text": "one"}}, {"meta": {"text": "two"}, "meta.text": "its own"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(source_of(path, text_field="meta.text"))[0] == ["one", "its own"]
    with pytest.raises(InputError, match=r"no field 'meta.x'; fields here: meta\n  set `text_field`"):
        read(source_of(path, text_field="meta.x"))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"meta": [{"text": "one", "n": 1}, None], "raw": [b"two", b"\xff"]}), path)
    assert read(source_of(path, text_field="raw"), "skip")[0] == ["two"]
    assert read(source_of(path, text_field="meta.text"), "skip")[0] == ["one"]
    for field, words in {"meta.x": "fields of 'meta': text, n", "meta.n": "is int64", "meta": "is struct"}.items():
        with pytest.raises(InputError, match=words):
            read(source_of(path, text_field=field))


# --- 5: damaged files


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_file_keeps_what_can_be_read(suffix: str, damage: str, parts: int, tmp_path: Path) -> None:
    import zstandard

    checked = zstandard.ZstdCompressor(write_checksum=True)  # as zstd writes it; without, other bytes may be no error
    pack: Any = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": checked.compress}[suffix]
    texts = [os.urandom(500).hex() for _ in range(400)]
    members = [b"".join(b'{"text": "%s"}\n' % t.encode() for t in texts[i : i + 100]) for i in range(0, 400, 100)]
    packed = [pack(member) for member in members]
    data = bytearray(b"".join(packed))
    at = sum(map(len, packed[:3])) + len(packed[3]) // 2
    path = tmp_path / f"a.jsonl{suffix}"
    if damage == "cut":
        del data[at:]
    else:
        data[at : at + 64] = bytes(64)
    path.write_bytes(data)
    found, lost = read(source_of(path), "skip", parts)
    assert set(texts[:300]) <= set(found) and (damage == "flipped" or set(found) <= set(texts))
    assert len(lost) == 1 and lost[0]["file"] == str(path) and f"damaged {suffix} file" in lost[0]["what"]
    assert 0 <= lost[0]["bytes"] <= len(packed[3])
    with pytest.raises(InputError, match=r"on_error: skip (to keep|leaves)"):
        read(source_of(path), parts=parts)


def test_a_damaged_row_group_loses_its_own_rows_only(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"text": [os.urandom(200).hex() for _ in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False)
    offset = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    found, lost = read(source_of(path), "skip")
    texts = table["text"].to_pylist()
    assert found == texts[:100] + texts[200:]
    assert [(one["documents"], one["at"]) for one in lost] == [(100, "101")]


def test_the_run_says_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = gzip.compress(b"".join(b'{"text": "%s"}\n' % os.urandom(50).hex().encode() for _ in range(900)))
    path.write_bytes(packed + b"damaged " * 9000)
    values = config(tmp_path, path, on_error="skip", min_doc_chars=None, splits={"train": 1.0})
    done = prepare(values, tmp_path)
    assert "truncated or damaged .gz file" in done.stderr and "bytes (as on the disk) lost" in done.stderr
    assert "bad rows" not in done.stderr
    record = json.loads((output(tmp_path / "out") / "record.json").read_text())
    assert record["lost"][0]["file"] == str(path) and record["skipped"] == 0
    prepare(values | {"on_error": "fail"}, tmp_path, code=2)  # what was lost is not taken for good by it
    path.write_bytes(packed[:-9000])  # all that is there was read: the loss has no bytes on the disk
    said = prepare(values, tmp_path).stderr
    assert "damaged .gz file" in said and "the rest, which is not in the file, is lost" in said
    assert " 0 bytes" not in said


# --- 6: empty splits and sources, budgets, blank documents


def test_empty_splits_blank_documents_and_a_source_without_any(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [*documents(3), " \n\t ", "\u3000", "", "x"])
    second = write_jsonl(tmp_path / "b.jsonl", [" ", "\n"])
    datasets = [{"name": "web", "path": str(first)}, {"name": "none", "path": str(second)}]
    values = config(
        tmp_path, "", datasets=datasets, splits={"train": 0.998, "valid": 0.001, "test": 0.001}, min_doc_chars=3
    )
    said = prepare(values, tmp_path).stderr
    assert "warning: dataset 'none' has no document" in said
    assert "warning: splits.valid: a share of 0.001 of 3 documents came out empty" in said
    assert "5 blank documents were left out" in said and "1 documents were shorter" in said
    record = json.loads((output(tmp_path / "out") / "record.json").read_text())
    assert (record["blank"], record["short"], record["counts"]["web"]["train"]["documents"]) == (5, 1, 3)
    said = prepare(values | {"drop_blank": False, "min_doc_chars": 1}, tmp_path).stderr
    assert "blank documents" not in said and "has no document" not in said


def nothing(changes: dict[str, Any], **facts: Any) -> str:
    counts = {"web": {split: {"documents": 0, "tokens": 0} for split in ("train", "valid", "test")}}
    empty = {"skipped": 0, "lost": [], "skipped_rows": [], "short": 0, "blank": 0}
    made = Config((), Path("/o"), "t", {"train": 1.0}, 1, **changes)
    with pytest.raises(InputError) as refused:
        closing.check_trained_on(made, counts, empty | facts, 3)
    return str(refused.value)


def test_why_there_is_nothing_to_train_on() -> None:
    assert "all 7 rows were skipped, the first: a:1: no field" in nothing({}, skipped=7, skipped_rows=["a:1: no field"])
    assert "all documents were left out: 2 blank, 1 shorter" in nothing({}, blank=2, short=1)
    assert nothing({"max_tokens": 1}).startswith("max_tokens: no document has room")
    assert "max_tokens" not in nothing({"max_tokens": 1}, blank=4)


def test_one_token_is_too_few(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)), max_tokens=1)
    assert "error: max_tokens: no document has room" in prepare(values, tmp_path, code=2).stderr


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """A file system takes any bytes for a name; the run goes through, and the next one knows what is done."""
    (tmp_path / "in").mkdir()
    for name in (b"a\xff.jsonl", b"b\nx y#%.jsonl"):
        write_jsonl(tmp_path / "in" / os.fsdecode(name), documents(40, repr(name)))
    values = config(tmp_path, tmp_path / "in", num_shards=1, workers=1, engine="tokenizers")
    prepare(values, tmp_path)
    assert "\\udcff.jsonl" in (output(tmp_path / "out") / ".data_prep" / "run.json").read_text("utf-8")
    assert "nothing to do" in prepare(values, tmp_path).stderr
