"""Huge documents, which are read and encoded in parts: their ids are those of the whole, and so is every byte."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import numpy as np
import orjson
from data_prep_lib import adversarial, engines, huge, worker
from data_prep_lib.huge import Huge
from data_prep_lib.layout import Layout
from data_prep_lib.rows import loader, parse
from data_prep_lib.shards import Piece, Shard
from data_prep_lib.vocab import find_tokenizer, load_tokenizer, read_vocab

from tests.recipes.data_prep_fixtures import documents, make_tokenizer  # type: ignore[import-not-found, unused-ignore]

KINDS = ["gpt-2", *(f"split-{n}" for n in range(len(huge._PATTERNS)))]


def tokenizer(directory: Path, kind: str, **changes: Any) -> Path:
    """Byte-level BPE with a published tokenizer's way of cutting words; returns its tokenizer.json."""
    path = make_tokenizer(directory) / "tokenizer.json"
    value = json.loads(path.read_text())
    if kind != "gpt-2":
        pattern = sorted(huge._PATTERNS)[int(kind[-1])]
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, last]}
        value["normalizer"] = {"type": "NFC"}
    path.write_text(json.dumps(value | changes))
    return path


def odd_texts(path: Path) -> list[str]:
    """Those on which tokenizers differ, between words at which a text is cut."""
    rng = random.Random(7)
    strings = adversarial.strings(load_tokenizer(str(path)))
    words = ["ab cd\nef", "don't be\nit's x", " a\n\nb  c", "é e\u0301 f", "z\r\ny", "q 12", "<|endoftext|>"]
    return [
        "".join(rng.choice((rng.choice(strings)[:300], rng.choice(words), " ", "\n")) for _ in range(60))
        for _ in range(40)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_of_the_parts_are_those_of_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huge, "_PART", 1)  # every place where a text may be cut
    path = tokenizer(tmp_path / "t", kind)
    assert huge.is_cut(str(path))
    cuts = 0
    for engine in ("tokenizers", "fastokens"):
        encode = engines.load(engine, str(path))
        for text in odd_texts(path):
            parts = list(Huge(text.encode()).parts())
            cuts += len(parts)
            assert "".join(parts) == text
            assert np.array_equal(encode(parts).ids, encode([text]).ids), (engine, parts)
    assert cuts > 1000


def test_tokenizers_of_which_it_is_not_known(tmp_path: Path) -> None:
    word = {"id": 1, "content": "an apple", "special": False, "rstrip": False, "lstrip": False, "single_word": False}
    changes: list[dict[str, Any]] = [
        {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}},
        {"added_tokens": [word]},
        {"added_tokens": [word | {"content": "mask", "rstrip": True}]},
        {"added_tokens": [word | {"content": " x", "single_word": True}]},
        {"model": {"type": "Unigram", "vocab": []}},
    ]
    for number, change in enumerate(changes):
        assert not huge.is_cut(str(tokenizer(tmp_path / str(number), "gpt-2", **change))), change
    assert huge.is_cut(
        str(tokenizer(tmp_path / "mask", "gpt-2", added_tokens=[word | {"content": "<mask>", "rstrip": True}]))
    )


def rows(text: str) -> list[bytes]:
    """A text as JSON in some of the ways that there are."""
    value = {"id": 3, "meta": {"text": text}, "text": text, "after": ['"', "\\"]}
    return [json.dumps(value).encode(), orjson.dumps(value), json.dumps(value, indent=1).replace("\n", " ").encode()]


@pytest.mark.parametrize("field", ["text", "meta.text", "nothing", "id"])
def test_a_line_gives_what_the_parser_gives(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge, "LEAST", 60)
    monkeypatch.setattr(huge, "_PART", 24)
    texts = [" ".join(documents(3, salt)) for salt in "ab"] + [
        '\\" \\\\" 🙂\u2028 \x00 ' * 12 + "x" * 40,
        "🙂" * 90,
        "\\" * 80,
    ]
    loads, seen = loader(), 0
    lines = [line for text in texts for line in rows(text)]
    lines += [line.replace(b'"id"', b'"text"') for line in lines[:2]]  # twice the field
    broken = [line.replace(b"x" * 20, b"\\q") for line in lines] + [line[:-9] for line in lines]
    broken += [line.replace(b"naive", b"\xff") for line in lines] + [b'{"text": "' + b"\\ud800" + b"y" * 90 + b'"}']
    for line in [*lines, *broken]:
        text, error = parse(loads, line, field, in_bytes=True)
        seen += isinstance(text, Huge)
        assert (text.data.decode() if isinstance(text, Huge) else text, error) == parse(loads, line, field), line
    assert seen > 8 or field in ("nothing", "id")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_doc_tokens": 70, "add_bos": True},
    {"split_special_tokens": True, "min_doc_chars": 900},
    {"max_tokens": 1500, "splits": {"train": 1.0, "valid": 0.0, "test": 0.0}},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_no_byte_is_another_one(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of documents of which some, and then all, are taken for huge: JSONL, compressed, text."""
    path = tokenizer(tmp_path / "t", "split-1")
    texts = odd_texts(path)[:12] + documents(8) + [" \n " * 900, "noplacetocut" * 99]
    (tmp_path / "a.jsonl").write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.txt").write_text("\n".join(texts))
    made: dict[str, list[dict[str, bytes]]] = {}
    for least, name in product((1 << 30, 2000, 40), ("a.jsonl", "a.jsonl.gz", "a.txt")):
        monkeypatch.setattr(huge, "LEAST", least)
        monkeypatch.setattr(huge, "_PART", 100)
        out = tmp_path / f"{least}-{name}"
        build(tmp_path / name, path.parent, out, options)
        files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.[bi]*")) if p.is_file()}
        if "max_tokens" not in options:  # of what is read beyond the last token other numbers are counted
            files["receipt"] = told_of(out)
        assert any(name.endswith(".bin") for name in files)
        made.setdefault(name, []).append(files)
    for same in made.values():
        assert same[0] == same[1] == same[2]


def told_of(out: Path) -> bytes:
    """The receipt, without the special tokens: what a document is cut off they may have been counted in, or not."""
    (path,) = out.glob(".data_prep/receipts/*.json")
    receipt = json.loads(path.read_bytes())
    return json.dumps({key: value for key, value in receipt.items() if not key.startswith("special_")}).encode()


def build(data: Path, tokenizer: Path, out: Path, options: dict[str, Any], engine: str = "tokenizers") -> None:
    """As a worker does it."""
    files = find_tokenizer(str(tokenizer))
    settings: dict[str, Any] = {"add_bos": False, "add_eos": True, "sample": None, "max_doc_tokens": None}
    settings |= {"min_doc_chars": 1, "drop_blank": True, "split_special_tokens": False, "on_error": "fail"}
    settings |= {"splits": {"train": 0.5, "valid": 0.3, "test": 0.2}} | options
    budget = settings.pop("max_tokens", None)
    vocab = read_vocab(files, True, True)
    state = data.stat()
    piece = Piece(str(data), state.st_size, 0, state.st_size, state.st_mtime_ns)
    shard = Shard("d", 0, "text" if data.suffix == ".txt" else "jsonl", "text", (piece,), budget)
    worker._state.update(
        settings=worker.Settings(Layout(out), files.path, engine, vocab, **settings),
        counters=Counters(),
        encode=engines.load(engine, files.path),
    )
    worker.build(shard, "made by")


class Counters(list[int]):
    """What processes share, for one."""

    def __init__(self) -> None:
        super().__init__([0] * 5)

    def get_lock(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


PEAK = """
import resource, sys
sys.path[:0] = [{recipes!r}, {root!r}]
from pathlib import Path
from tests.recipes.test_data_prep_huge import build
from data_prep_lib import huge
huge.LEAST = {least}
build(Path({small!r}), Path({tokenizer!r}), Path({out!r}), {{}}, "fastokens")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
build(Path({data!r}), Path({tokenizer!r}), Path({out!r}), {{}}, "fastokens")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is of other units elsewhere")
def test_memory_is_a_small_multiple_of_the_document(tmp_path: Path) -> None:
    """8 MB with one emoji, of which a string alone takes 32 MB: the line, its text, and a part's ids."""
    path = tokenizer(tmp_path / "t", "gpt-2").parent
    text = "🙂" + "abcdefgh ijk\n" * 600_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    (tmp_path / "small.jsonl").write_text(json.dumps({"text": text[:900_000]}))
    size = (tmp_path / "a.jsonl").stat().st_size
    root = Path(__file__).parents[2]
    given = {"recipes": str(root / "recipes"), "root": str(root), "data": str(tmp_path / "a.jsonl")}
    given |= {"small": str(tmp_path / "small.jsonl"), "least": "1 << 20"}
    code = PEAK.format(**given, tokenizer=str(path), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 3.2 * size, (int(done.stdout) * 1024, size)
