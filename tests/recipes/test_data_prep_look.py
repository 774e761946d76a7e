"""recipes/data_prep.py before the work and after it: `look`, separators, special tokens, moves and `relocate`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import data_prep
from data_prep_lib import auto_tokenizer, stores
from data_prep_lib.config import Config
from data_prep_lib.engines import of_tokenizer
from data_prep_lib.separator import finding as separator_of
from data_prep_lib.specials import Specials
from data_prep_lib.vocab import TokenizerFiles, Vocab, load_tokenizer
from node_agent_lib.messages import last_error

from tests.conftest import LIMIT_S
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    command,
    config,
    digests,
    documents,
    make_tokenizer,
    output,
    prepare,
    write_jsonl,
)
from tests.recipes.serving import serving

Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Look:
    """The document that `look` prints of a configuration."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # it sets them
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(stores, "_patience", stores._patience)  # and this
    monkeypatch.setattr(stores, "LOOK", replace(stores.LOOK, repeat=1, whole=2))

    def answer(values: dict[str, Any], *options: str) -> dict[str, Any]:
        command(values, tmp_path)
        before = sorted(tmp_path.rglob("*"))
        assert data_prep.main(["look", "--config", str(tmp_path / "config.yaml"), *options]) == 0
        assert sorted(tmp_path.rglob("*")) == before  # nothing is written
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return answer


def codes(found: dict[str, Any], level: str = "error") -> list[str]:
    return [entry["code"] for entry in found["findings"] if entry["level"] == level]


def test_the_estimate_is_near_the_truth(look: Look, tmp_path: Path) -> None:
    first, second = (
        write_jsonl(tmp_path / "a.jsonl", documents(900)),
        write_jsonl(tmp_path / "b.jsonl", documents(9, "b")),
    )
    datasets = [{"name": "a", "path": str(first)}, {"name": "b", "path": str(second), "weight": 2}]
    values = config(tmp_path, "", datasets=datasets, num_shards=None, splits={"train": 1.0})
    found = look(values)
    assert codes(found) == [] and codes(found, "warning") == ["data-prep-epochs"]
    prepare(values, tmp_path)
    counts = json.loads((output(tmp_path / "out") / "record.json").read_text())["counts"]
    true = {name: splits["train"] for name, splits in counts.items()}
    for row in found["sources"]:
        assert row["documents"] == true[row["name"]]["documents"]
        assert row["tokens"] == pytest.approx(true[row["name"]]["tokens"], rel=0.1)
    size = sum(p.stat().st_size for p in output(tmp_path / "out").glob("train/*"))
    assert found["total"]["output_bytes"] == pytest.approx(size, rel=0.1)
    every = sum(numbers["tokens"] for numbers in true.values())
    assert found["sources"][1]["epochs"] == pytest.approx(2 / 3 * every / true["b"]["tokens"], rel=0.1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"splits": {"train": 0.5}}, "data-prep-config"),
        ({"sample": "10%"}, "data-prep-config"),
        ({"max_doc_tokens": 1, "add_eos": True}, "data-prep-config"),
        ({"min_doc_chars": 10**6}, "data-prep-rows"),
        ({"tokenizer": "/nowhere/at/all"}, "data-prep-tokenizer"),
        ({"eos_token": "<none>"}, "data-prep-tokenizer"),
        ({"datasets": [{"name": "a", "path": "/nowhere"}]}, "data-prep-input"),
    ],
)
def test_what_the_job_would_refuse(change: dict[str, Any], code: str, look: Look, tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(5)))
    assert codes(look(values | change)) == [code]
    if code != "data-prep-config":
        assert codes(look(values | change, "--config-only")) == []
    assert prepare(values | change, tmp_path, code=2).returncode == 2


def test_a_source_of_several_may_be_all_blank(look: Look, tmp_path: Path) -> None:
    """The job keeps what the others have, so that it is a warning."""
    (tmp_path / "b.jsonl").write_text('{"text": " "}\n{"text": ""}\n')
    datasets = [{"name": name, "path": str(tmp_path / f"{name}.jsonl")} for name in "ab"]
    write_jsonl(tmp_path / "a.jsonl", documents(5))
    found = look(config(tmp_path, "", datasets=datasets))
    assert codes(found) == []
    (told,) = [one["message"] for one in found["findings"] if one["code"] == "data-prep-rows"]
    assert "dataset 'b': all 2 documents of the sample are blank" in told


def test_rows_of_another_field(look: Look, tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(150), field="content"))
    for on_error in ("fail", "skip"):
        found = look(values | {"on_error": on_error})
        (error,) = [entry for entry in found["findings"] if entry["level"] == "error"]
        assert error["code"] == "data-prep-rows" and "fields here: id, content" in error["message"]
        assert "set `text_field`" in f"{error['message']} {error['fix']}"
    few = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(50), field="content"), on_error="skip")
    said = prepare(few, tmp_path, code=2).stderr
    assert "all 50 rows were skipped, the first: " in said and "set `text_field`" in said


def test_a_file_whose_name_is_no_utf_8(look: Look, tmp_path: Path) -> None:
    """It is told as it is in the job's log: what shows it is a terminal that takes UTF-8 alone."""
    rows = write_jsonl(tmp_path / "a.jsonl", documents(30)).read_bytes()
    (tmp_path / os.fsdecode(b"corpus-\xff.jsonl")).write_bytes(rows + b'{"text": 3}\n')
    found = look(config(tmp_path, str(tmp_path / "*.jsonl")))
    (error,) = [entry for entry in found["findings"] if entry["level"] == "error"]
    assert f"{tmp_path}/corpus-\\udcff.jsonl:31: field 'text' is int" in error["message"]


def test_what_cannot_be_reached_is_an_error_of_its_own(look: Look, tmp_path: Path) -> None:
    """A directory that may not be entered ends stat() as a name that is too long does; root may enter all."""
    path, values = f"/{'x' * 300}", config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(30)))
    beside = {"name": "far", "path": path}
    broken = {**values, "output_dir": path, "publish": True, "datasets": [*values["datasets"], beside]}
    assert codes(look(broken)) == ["data-prep-config", "data-prep-input"]
    told = look({**broken, "tokenizer": path})
    assert codes(told) == ["data-prep-config", "data-prep-tokenizer", "data-prep-input"]
    messages = [entry["message"] for entry in told["findings"]]
    for message, what in zip(messages, ("output_dir", "tokenizer", "dataset 'far'"), strict=True):
        assert message.startswith(f"{what}: {path}") and message.endswith("cannot be read: File name too long")
    assert [row["name"] for row in told["sources"]] == ["web"]
    assert "cannot be read: File name too long" in prepare({**values, "datasets": [beside]}, tmp_path, code=2).stderr


def test_a_home_directory_that_is_none_here(look: Look, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An error in the job, and on the machine whose paths are the job's; elsewhere it may be one there."""
    path, values = "~no-such-user/x", config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(9)))
    for change, key in (
        ({"datasets": [{"name": "web", "path": path}]}, "datasets[0].path"),
        ({"datasets": None, "blend": path}, "blend"),
        ({"output_dir": path}, "output_dir"),
        ({"artifact": {"root": path, "name": "n"}}, "artifact.root"),
    ):
        told = f"{key}: {path}: ~no-such-user is no home directory here"
        for options, level in ((), "error"), (("--config-only",), "note"):
            (one,) = look(values | change, *options)["findings"]
            assert (one["level"], one["message"]) == (level, told)
        assert data_prep.main(["--config", str(tmp_path / "config.yaml")]) == 2
        assert capsys.readouterr().err.startswith(f"error: {told}\n")
    (one,) = [entry for entry in look(values | {"tokenizer": path})["findings"] if entry["level"] == "error"]
    assert one["message"] == f"tokenizer: {path}: ~no-such-user is no home directory here"
    for words in (["inspect", path], ["train-tokenizer", "--input", path, "--output", str(tmp_path / "made")]):
        assert data_prep.main(words) == 2
        assert "~no-such-user is no home directory here" in capsys.readouterr().err


def test_a_server_that_is_silent_takes_nobody_elses_time(look: Look, tmp_path: Path) -> None:
    """All are looked at side by side, and what has not answered when the time is over is said not to be looked at."""
    here = str(write_jsonl(tmp_path / "a.jsonl", documents(30)))
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        address, nobody = (f"http://127.0.0.1:{server.getsockname()[1]}/x.jsonl" for server in (silent, closed))
        closed.close()
        paths = [address, nobody, address, here]
        found = look(config(tmp_path, "", datasets=[{"name": f"d{i}", "path": p} for i, p in enumerate(paths)]))
        told = [(f["level"], f["code"], f["message"]) for f in found["findings"] if "separator" not in f["code"]]
        silent.settimeout(LIMIT_S)
        for _ in range(2):  # both have asked
            silent.accept()[0].close()
    assert [level_and_code[:2] for level_and_code in told] == [
        ("warning", "data-prep-not-looked-at"),
        ("error", "data-prep-input"),
        ("warning", "data-prep-not-looked-at"),
    ], told
    assert f"{address}: not looked at, as {address[:-8]} has not answered within the 2 s" in told[0][2]
    assert "connection refused" in told[1][2]
    assert [(row["name"], row["tokens"] > 0) for row in found["sources"]] == [("d3", True)]


def test_a_server_that_falls_silent_after_its_first_answer(look: Look, tmp_path: Path) -> None:
    """It has named the file's size, and nothing of its rows comes."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            if len(asked) > 1:
                over.wait(LIMIT_S)
            self.send_response(206)
            for name, value in {"Content-Length": "1", "Content-Range": "bytes 0-0/40", "ETag": '"a"'}.items():
                self.send_header(name, value)
            self.send_header("Last-Modified", "Fri, 27 Nov 2026 17:00:00 GMT")
            self.end_headers()
            self.wfile.write(b"{")

    over, server = threading.Event(), ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        found = look(config(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/x.jsonl"))
        over.set()
    assert codes(found, "warning") == ["data-prep-not-looked-at"] and len(asked) > 1, found
    assert codes(found) == [] and found["sources"][0]["tokens"] is None


def test_an_upload_that_is_silent_takes_nobody_elses_time(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of those who are asked has its own time; the output's directory is told without asking once more."""
    monkeypatch.setattr(stores, "LOOK", replace(stores.LOOK, whole=1))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    rows, asked = b"".join(b'{"text": "some words"}\n' for _ in range(20)), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            start, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = rows[int(start) : int(last) + 1]
            self.send_response(206)
            of_all = f"bytes {start}-{int(start) + len(part) - 1}/{len(rows)}"
            for name, value in {"Content-Length": str(len(part)), "Content-Range": of_all, "ETag": '"a"'}.items():
                self.send_header(name, value)
            self.send_header("Last-Modified", "Fri, 27 Nov 2026 17:00:00 GMT")
            self.end_headers()
            self.wfile.write(part)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}/x.jsonl"
    with serving(server), socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = look(config(tmp_path, address, upload="s3://copies/x"))
    (warning,) = [entry["message"] for entry in found["findings"] if entry["level"] == "warning"]
    assert warning.startswith("s3://copies/x") and "has not answered" in warning
    assert codes(found) == [] and found["sources"][0]["tokens"] > 0
    assert Path(found["output"]).parent == tmp_path / "out"
    (first, *more) = asked
    assert first not in more, asked


def test_a_sample_of_a_config_with_shards(tmp_path: Path) -> None:
    """The documented `data-prep -c tiny --sample 200`, whose config has num_shards."""
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(50)), num_shards=4, sample=20)
    prepare(values, tmp_path)
    (record,) = (tmp_path / "out").glob("sample-*/record.json")
    assert sum(s["documents"] for s in json.loads(record.read_text())["counts"]["web"].values()) == 20


# --- separators and special tokens


def chat(eos: str, *specials: str) -> tuple[TokenizerFiles, Vocab]:
    vocab = Vocab(100, "uint16", 1, None, dict(enumerate([eos, *specials])))
    return TokenizerFiles("chat", "/t/tokenizer.json", "0", eos, None), vocab


@pytest.mark.parametrize(
    ("eos", "specials", "fix"),
    [
        ("<|im_end|>", ("<|endoftext|>",), "eos_token='<|endoftext|>'"),
        ("<end_of_turn>", ("<eos>",), "eos_token='<eos>'"),
        ("<|eot_id|>", ("<|end_of_text|>",), "eos_token='<|end_of_text|>'"),
        ("<|im_end|>", (), None),  # there is nothing better
        ("<|endoftext|>", ("<|im_end|>",), None),
        ("</s>", (), None),
    ],
)
def test_the_separator_is_said_and_a_turns_end_is_warned_of(
    eos: str, specials: tuple[str, ...], fix: str | None
) -> None:
    values = Config((), Path("/o"), "t", {"train": 1.0}, 1)
    (found,) = separator_of(values, *chat(eos, *specials))
    assert (found["level"], found["fix"]) == ("warning" if fix else "note", fix) and repr(eos) in found["message"]


def test_another_separator_is_another_output(tmp_path: Path) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(20)), num_shards=1)
    assert "each document ends with '<|endoftext|>' (id 0)" in prepare(values, tmp_path).stderr
    first = output(tmp_path / "out")
    said = prepare(values | {"eos_token": "a"}, tmp_path).stderr
    assert "each document ends with 'a'" in said and output(tmp_path / "out") != first


@pytest.mark.parametrize("engine", ["tokenizers", "fastokens"])
def test_special_tokens_in_texts(engine: str, tmp_path: Path) -> None:
    if engine != "tokenizers":
        pytest.importorskip(engine)
    texts = [*documents(5), "a <|endoftext|> b<|endoftext|>", "<|endoftext", "<|endoftext|>"]
    values = config(
        tmp_path, write_jsonl(tmp_path / "a.jsonl", texts), num_shards=1, engine=engine, splits={"train": 1.0}
    )
    said = prepare(values, tmp_path).stderr
    assert "special tokens stand in 2 documents, written as their ids" in said and "'<|endoftext|>' 3 times" in said
    split = values | {"split_special_tokens": True, "output_dir": str(tmp_path / "split")}
    assert "written as text" in prepare(split, tmp_path).stderr
    import numpy as np

    for name, ends in (("out", 8 + 3), ("split", 8)):
        ids = np.fromfile(output(tmp_path / name) / "train" / "web_00000.bin", "<u2")
        assert np.count_nonzero(ids == 0) == ends
    record = json.loads((output(tmp_path / "split") / "record.json").read_text())
    assert record["special_tokens"] == {"<|endoftext|>": 3} and record["special_documents"] == 2


@pytest.mark.parametrize("names", [{0: "<|endoftext|>"}, {0: "<|endoftext|>", 379: "<x>"}, {}, {5: "a", 7: "b"}])
def test_special_tokens_are_found_wherever_they_stand(names: dict[int, str], tmp_path: Path) -> None:
    path = make_tokenizer(tmp_path / "t") / "tokenizer.json"
    encode = of_tokenizer(load_tokenizer(str(path)))
    texts = [*documents(20), "x<|endoftext|>y"]
    encoded = encode(texts)
    specials = Specials(names, None)
    assert specials.applied(texts, encoded) is encoded
    expected = {name: n for i, name in names.items() if (n := encoded.ids.tolist().count(i))}
    assert dict(specials.found) == expected


def test_autotokenizers_other_ids_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of transformers that builds its own pre-tokenizer from this tokenizer.json."""
    pytest.importorskip("transformers")
    monkeypatch.setattr(auto_tokenizer, "SECONDS", 600)
    folder, kept = make_tokenizer(tmp_path / "t"), tmp_path / "kept.json"
    path = folder / "tokenizer_config.json"
    plain = auto_tokenizer.Comparison(str(folder / "tokenizer.json"), kept)
    assert plain.warning() is None and not kept.exists()  # its class takes the file as it is
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "LlamaTokenizer"}))
    said = auto_tokenizer.Comparison(str(folder / "tokenizer.json"), kept).warning()
    assert said and said.startswith("AutoTokenizer (LlamaTokenizer") and "those of tokenizer.json" in said
    assert json.loads(kept.read_text())["differences"] > 0
    assert auto_tokenizer.Comparison(str(folder / "tokenizer.json"), kept).warning() is None  # once


# --- moves


def test_a_moved_output_and_input_are_not_tokenized_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_jsonl(tmp_path / "old" / "in" / "a.jsonl", documents(40))
    values = config(tmp_path, tmp_path / "old" / "in", output_dir=str(tmp_path / "old" / "out"))
    prepare(values, tmp_path)
    before = digests(tmp_path / "old" / "out")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = values | {"output_dir": str(tmp_path / "new" / "out")}
    moved["datasets"] = [{"name": "web", "path": str(tmp_path / "new" / "in")}]
    said = prepare(moved, tmp_path).stderr
    assert "was moved here" in said and "nothing to do" in said
    assert digests(tmp_path / "new" / "out") == before
    assert "was moved here" not in prepare(moved, tmp_path).stderr


def test_relocate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = config(tmp_path, write_jsonl(tmp_path / "a.jsonl", documents(40)), num_shards=1)
    values["datasets"] = [{"name": name, "path": str(tmp_path / "a.jsonl"), "weight": 1} for name in ("web", "b")]
    prepare(values, tmp_path)
    values["datasets"][0]["weight"] = 5
    prepare(values, tmp_path)  # a second blend.json of the same shards
    original = {path: path.read_text() for path in (tmp_path / "out").glob("*/blend.json")}
    shutil.copytree(tmp_path / "out", tmp_path / "copy", symlinks=True)
    assert data_prep.main(["relocate", str(tmp_path / "copy")]) == 0
    assert "names its shards here now" in capsys.readouterr().err
    for path, text in original.items():
        assert path.read_text() == text  # the original is left alone
        copy = tmp_path / "copy" / path.relative_to(tmp_path / "out")
        assert copy.read_text() == text.replace(f"{tmp_path}/out/", f"{tmp_path}/copy/") != text
    assert data_prep.main(["relocate", str(tmp_path / "copy" / "blend.json")]) == 0
    assert "here already" in capsys.readouterr().err
    next((tmp_path / "copy").glob("*/train/web_00000.bin")).unlink()
    assert data_prep.main(["relocate", str(tmp_path / "copy")]) == 2
    assert "web_00000.bin is not there" in capsys.readouterr().err
    assert data_prep.main(["relocate", str(tmp_path / "tokenizer")]) == 2
    assert "no output of data-prep" in capsys.readouterr().err


def test_an_error_is_called_so_once() -> None:
    assert last_error(["some line", "error: /a.jsonl:1: no field 'text'"]) == "/a.jsonl:1: no field 'text'"
    assert last_error(["ValueError: x", "bye"]) == "ValueError: x"
    stopped = ["Fatal Python error: config_init_hash_seed: no number", "Python runtime state: preinitialized"]
    assert last_error(stopped) == stopped[0]
