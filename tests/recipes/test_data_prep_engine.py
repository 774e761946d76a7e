"""The tokenizer engines of recipes/data_prep.py: chosen by proof, and no engine changes a byte of the output."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from data_prep_lib import engine_check, engines, forks
from data_prep_lib.batches import MAX_CHARS, MAX_DOCUMENTS, batches
from data_prep_lib.config import SPLITS
from data_prep_lib.engines import Encoded
from data_prep_lib.errors import DataPrepError, RefusedError
from data_prep_lib.framing import Frame, by_split, frame
from data_prep_lib.shards import Piece, Shard
from data_prep_lib.vocab import Vocab

from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    WORDS,
    config,
    digests,
    documents,
    output,
    prepare,
    write_jsonl,
)

FAST = ["fastokens", "gigatoken"]

# sha256 of the files of one small input, as the program made them when it encoded document by document with tokenizers
PINNED = {
    "train/web_00000.bin": "6ca7cd4d84fe3ac05833fb93b7f6a6301744a49b7e05b57a229447d97c4e80ff",
    "train/web_00000.idx": "eba1fd2df4d465c2f6894db3228ea189ef68ef82e25f7ca0d8caf251e57acbd8",
    "train/web_00001.bin": "89a7b6d3293ad5a57fc137e50bb56dc1cd59aadffbdba7c3a43151b8c57d2f68",
    "train/web_00001.idx": "f0b47ffe74deb759818b414c2f9e977a6d3f24ad0cadbbd408285ac048060a84",
    "train/web_00002.bin": "1e7a0e5d0290775ffc68af944941e423fab1be417f4032520229e116eb6e5190",
    "train/web_00002.idx": "528a8f5043781119bf8eb982b2fc5d91451fca8c734e7cce55afd61a4ad1c8af",
    "valid/web_00000.bin": "ce014d5ece104207765bcf566913e7ea790bbb7dfe2fc27c324a2e78d3e2d2bf",
    "valid/web_00000.idx": "cd48251f3d96dc053a923edf795983aceda1771f9010993e8534eea1bb15263b",
    "test/web_00000.bin": "c51ab0cb38b2e7e00f2dff0c6f58746f62748b3dc7a76c0e4709f2dea987e887",
    "test/web_00000.idx": "7084d2c8e0d7ef1dafd5cc861d5fc249268a4f3fe8c46fb128979b4476c3943c",
}


def fixed_tokenizer(directory: Path) -> Path:
    """Byte-level BPE whose merges are written down, not trained: the same in every version of tokenizers."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocab = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in WORDS:
        for (piece, _), *_ in [pre.pre_tokenize_str(f" {word}")]:
            whole = piece[0]
            for char in piece[1:]:
                if whole + char not in vocab:
                    merges.append((whole, char))
                    vocab[whole + char] = len(vocab)
                whole += char
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.enable_truncation(8)  # as some published files have it; it must not reach the data
    directory.mkdir(parents=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}')
    return directory


def unknown_model(directory: Path) -> Path:
    """A tokenizer of a kind that the fast engines do not know."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["[UNK]", "[EOS]", *set(WORDS)])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    directory.mkdir(parents=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"eos_token": "[EOS]"}')
    return directory


@pytest.mark.parametrize(
    ("engine", "workers"), [("tokenizers", 2), ("fastokens", 1), ("fastokens", 3), ("gigatoken", 2)]
)
def test_no_engine_and_no_number_of_workers_changes_a_byte(tmp_path: Path, engine: str, workers: int) -> None:
    if engine != "tokenizers":
        pytest.importorskip(engine)
    texts = [*documents(300), "", "x", " ", "<|endoftext|>", "a<|endoftext|>b  \n"]
    data = write_jsonl(tmp_path / "a.jsonl", texts)
    options = {"add_bos": True, "max_doc_tokens": 150, "min_doc_chars": 1, "drop_blank": False}
    tokenizer = str(fixed_tokenizer(tmp_path / "fixed"))
    values = config(tmp_path, data, tokenizer=tokenizer, workers=workers, **options)
    prepare(values | {"engine": engine}, tmp_path)
    found = digests(tmp_path / "out")
    assert {name: digest for name, digest in found.items() if name != "blend.json"} == PINNED
    receipts = [json.loads(p.read_text()) for p in (output(tmp_path / "out") / ".data_prep/receipts").glob("*.json")]
    assert sum(r["short"] for r in receipts) == 1
    record = json.loads((output(tmp_path / "out") / "record.json").read_text())["engine"]
    assert (record["engine"], record["differences"]) == (engine, 0)
    assert engine == "tokenizers" or (record["documents"] == 305 and record["strings"] > 400)


def test_an_engine_that_cannot_have_the_tokenizer_is_passed_over_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("fastokens")
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(30)))
    values["tokenizer"] = str(unknown_model(tmp_path / "words"))
    done = prepare(values | {"engine": "fastokens"}, tmp_path, code=3)
    assert "error: engine: fastokens cannot be used here" in done.stderr and "engine: auto" in done.stderr
    prepare(values, tmp_path)
    record = json.loads((output(tmp_path / "out") / "record.json").read_text())["engine"]
    assert record["engine"] == "tokenizers" and "fastokens" in record["passed_over"]


def test_the_process_that_tries_the_engines_may_be_killed() -> None:
    context = multiprocessing.get_context("spawn")
    with pytest.raises(DataPrepError, match="the process that tries the engines was killed"):
        forks.call(context, os._exit, 9)
    with pytest.raises(RefusedError, match="gigatoken cannot be used here: not installed"):
        forks.call(context, _not_installed)


def _not_installed() -> None:
    engines.installed_version = lambda engine: None
    engine_check.choose("gigatoken", "", [])


def shard(path: Path) -> Shard:
    size = path.stat().st_size
    return Shard("web", 0, "jsonl", "text", (Piece(str(path), size, 0, size),))


def wrong_for(text: str) -> Any:
    """A loader of an engine that differs from tokenizers in one id of one text."""

    def load(path: str) -> engines.Encode:
        right = engines.load("tokenizers", path)

        def encode(texts: Sequence[str]) -> Encoded:
            found = right(texts)
            ids = found.ids.copy()
            for i in (i for i, known in enumerate(texts) if known == text):
                ids[found.offsets[i]] += 1
            return Encoded(ids, found.offsets)

        return encode

    return load


@pytest.mark.parametrize("text", ["corpus", "adversarial"])
def test_one_wrong_id_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    texts = documents(40)
    path = str(fixed_tokenizer(tmp_path / "fixed") / "tokenizer.json")
    work = [shard(write_jsonl(tmp_path / "a.jsonl", texts))]
    wrong = texts[33] if text == "corpus" else "tabs\t\tand\x0b\x0cother \x1c\x1f\x85 spaces"
    if text == "adversarial":
        monkeypatch.setattr(engine_check, "strings", lambda tokenizer: ["x", wrong])
    monkeypatch.setattr(engines, "installed_version", lambda engine: "1.0")
    monkeypatch.setitem(engines._LOADERS, "fastokens", wrong_for(wrong))
    monkeypatch.setitem(engines._LOADERS, "gigatoken", engines._LOADERS["tokenizers"])
    choice = engine_check.choose("auto", path, work)
    assert choice.engine == "gigatoken" and choice.documents == 40
    assert choice.passed_over["fastokens"].startswith("1 of ")
    with pytest.raises(RefusedError, match="fastokens cannot be used here: 1 of "):
        engine_check.choose("fastokens", path, work)


def test_without_the_packages_tokenizers_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = engines.installed_version("tokenizers")
    monkeypatch.setattr(engines, "installed_version", lambda engine: known if engine == "tokenizers" else None)
    path = str(fixed_tokenizer(tmp_path / "fixed") / "tokenizer.json")
    choice = engine_check.choose("auto", path, [])
    assert (choice.engine, choice.version) == ("tokenizers", known)
    assert choice.passed_over == dict.fromkeys(FAST, "not installed")
    with pytest.raises(RefusedError, match="not installed"):
        engine_check.choose("gigatoken", path, [])


def framed_one_by_one(bodies: list[list[int]], how: Frame, left: int | None) -> list[list[int]]:
    head, tail = ([] if token is None else [token] for token in (how.head, how.tail))
    found: list[list[int]] = []
    for body in bodies:
        longest = how.max_tokens
        whole = body if longest is None else body[: max(0, longest - how.extra)]
        ids = [*head, *whole, *tail] if whole else []
        if left is not None and len(ids) >= left:
            whole = body[: max(0, left - how.extra)]
            return [*found, [*head, *whole, *tail] if whole else []]
        left = None if left is None else left - len(ids)
        found.append(ids)
    return found


def test_frames_are_those_of_a_plain_loop() -> None:
    rng = random.Random(4)
    for _ in range(400):
        bodies = [[rng.randrange(900) for _ in range(rng.choice([0, 0, 1, 2, 9]))] for _ in range(rng.randrange(9))]
        how = Frame(rng.choice([None, 901]), rng.choice([None, 902]), rng.choice([None, 1, 2, 3, 6]))
        left = rng.choice([None, 1, 2, 7, 20, 90])
        ids = np.array([i for body in bodies for i in body], np.uint32)
        offsets = np.cumsum([0, *map(len, bodies)])
        framed = frame(Encoded(ids, offsets), how, Vocab(903, "uint16", 902, 901), left)
        wanted = framed_one_by_one(bodies, how, left)
        assert framed.lengths.tolist() == [*map(len, wanted), *[0] * (len(bodies) - len(wanted))]
        assert framed.ids.tolist() == [i for body in wanted for i in body] and framed.ids.dtype == np.uint16
        reached = sum(map(len, framed_one_by_one(bodies, how, None)))
        assert framed.full == (left is not None and reached >= left)


def test_splits_get_their_documents_in_order() -> None:
    lengths = np.array([2, 0, 1, 3, 1, 2])
    ids = np.arange(9, dtype=np.uint16)
    framed = frame(
        Encoded(ids.astype(np.uint32), np.cumsum([0, *lengths])),
        Frame(None, None, None),
        Vocab(9, "uint16", None, None),
    )
    splits = np.array([SPLITS.index(s) for s in ("train", "test", "train", "train", "test")], np.int8)
    found = {s: (runs, n.tolist(), size) for s, runs, n, size in by_split(framed, splits, np.array([1, 2, 3, 4, 5]))}
    assert found.keys() == {"train", "test"}
    assert [run.tolist() for run in found["train"][0]] == [[0, 1], [3, 4, 5, 6]] and found["train"][1:] == (
        [2, 3, 1],
        8,
    )
    assert [run.tolist() for run in found["test"][0]] == [[2], [7, 8]] and found["test"][1:] == ([1, 2], 7)


def test_an_id_beyond_the_vocabulary_is_no_silent_wrap_around() -> None:
    encoded = Encoded(np.array([1, 70_000], np.uint32), np.array([0, 2]))
    with pytest.raises(DataPrepError, match="beyond the vocabulary of 400"):
        frame(encoded, Frame(None, None, None), Vocab(400, "uint16", None, None))


@pytest.mark.parametrize("chars", [1, 100, 5000])
def test_batches_are_bounded_whatever_the_corpus(chars: int) -> None:
    """Memory is that of one batch: the bound on it, and that no text is taken before its batch is wanted."""
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "x" * chars

    endless = batches(texts())
    for number in range(1, 4):
        batch = next(endless)
        assert len(batch) <= MAX_DOCUMENTS and sum(map(len, batch)) < MAX_CHARS + chars
        assert taken == number * len(batch)
    assert MAX_CHARS <= 1 << 20  # an engine takes some 50 bytes a character: tokenizers, the most hungry, more


COUNTED = """
import importlib, os, sys
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules["fastokens"]
real = importlib.import_module("fastokens")
load = real.Tokenizer.from_file
class Tokenizer:
    @staticmethod
    def from_file(path):
        with open(os.environ["LOADS"], "a") as file:
            file.write(f"{os.getpid()} {len(os.listdir('/proc/self/task'))}\\n")
        return load(path)
real.Tokenizer = Tokenizer
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker loads it")
def test_the_engine_is_loaded_once_whatever_the_number_of_workers(tmp_path: Path) -> None:
    """By the process that forks those that try it and those that work, while it has a single thread."""
    (tmp_path / "counted" / "fastokens").mkdir(parents=True)
    (tmp_path / "counted" / "fastokens" / "__init__.py").write_text(COUNTED)
    write_jsonl(tmp_path / "a.jsonl", documents(120))
    values = config(tmp_path, tmp_path / "a.jsonl", workers=3, num_shards=4, engine="fastokens")
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "counted"), "LOADS": str(tmp_path / "loads")}
    prepare(values, tmp_path, env=environ)
    loads = (tmp_path / "loads").read_text().splitlines()
    assert [line.split()[1] for line in loads] == ["1"], loads
    plain = values | {"output_dir": str(tmp_path / "plain"), "engine": "tokenizers", "workers": 1}
    prepare(plain, tmp_path)
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")
