"""data_prep.py train-tokenizer: what it writes is a tokenizer to data-prep and to transformers."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.recipes.data_prep_fixtures import RECIPE, documents, write_jsonl

sys.path.insert(0, str(RECIPE.parent))
import data_prep


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("texts") / "a.jsonl", documents(80))


def trained(texts: Path, output: Path, *more: str) -> int:
    size = () if "--vocab-size" in more else ("--vocab-size", "340")
    return data_prep.main(["train-tokenizer", "--input", str(texts), "--output", str(output), *size, *more])


def test_data_prep_and_transformers_load_it(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from data_prep_lib.vocab import find_tokenizer, load_tokenizer, read_vocab
    from transformers import AutoTokenizer

    output = tmp_path / "tokenizer"
    assert trained(texts, output, "--pad-token", "<pad>", "--special", "<|user|>") == 0
    assert capsys.readouterr().out.strip() == str(output)
    plain, auto = load_tokenizer(str(output / "tokenizer.json")), AutoTokenizer.from_pretrained(output)
    assert (plain.get_vocab_size(), len(auto)) == (340, 340)
    assert (auto.eos_token, auto.eos_token_id, auto.pad_token, auto.bos_token) == ("<|endoftext|>", 0, "<pad>", None)
    for text in [*documents(3, "other"), "  two  spaces\r\n\t\x00 東京 🙂 e\u0301"]:
        ids = plain.encode(text, add_special_tokens=False).ids
        assert auto(text, add_special_tokens=False)["input_ids"] == ids
        assert auto.decode(ids) == text, "every byte is a token: nothing is lost"
    assert len(plain.encode("<|user|>").ids) == 1
    vocab = read_vocab(find_tokenizer(str(output)), add_bos=False, add_eos=True)
    assert vocab.eos_id == 0


def test_a_launch_reaches_it_and_a_config_names_the_data(texts: Path, tmp_path: Path) -> None:
    config = tmp_path / "prep.yaml"
    fields = {"datasets": [{"name": "a", "path": str(texts)}], "output_dir": "/x", "tokenizer": "/y"}
    config.write_text(json.dumps(fields))
    command = [sys.executable, str(ROOT / "launch.py"), "data-prep", "train-tokenizer", "--config", str(config)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "t"), "--vocab-size", "300"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "300 tokens, of them 1 special" in done.stderr
    assert trained(texts, tmp_path / "same", "--vocab-size", "300") == 0
    assert (tmp_path / "same/tokenizer.json").read_bytes() == (tmp_path / "t/tokenizer.json").read_bytes()


def test_another_tokenizer_is_not_replaced_unasked(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tokenizer.json").write_text("another")
    assert trained(texts, tmp_path) == 3
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "tokenizer.json").read_text() == "another"
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert trained(texts, tmp_path, "--overwrite") == 0
    assert (tmp_path / "tokenizer.json").read_text() != "another"


def test_a_tokenizer_that_is_replaced_is_the_former_or_the_new_one_or_none(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the names of one beside the vocabulary of another: no room for the new one, and a kill behind its names."""
    assert trained(texts, tmp_path) == 0
    files = [tmp_path / name for name in ("tokenizer.json", "tokenizer_config.json")]
    former = [file.read_bytes() for file in files]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        assert trained(texts, tmp_path, "--overwrite", "--eos-token", "<end>") != 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.read_bytes() for file in files] == former

    def killed(path: Path, target: Path) -> Path:
        if target == files[0]:
            raise KeyboardInterrupt
        return replaced(path, target)

    replaced = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    assert trained(texts, tmp_path, "--overwrite", "--eos-token", "<end>") != 0
    assert [file.exists() for file in files] == [False, True]


@pytest.mark.parametrize(("options", "words"), [
    (["--vocab-size", "256"], ["--vocab-size 256", "257 or more"]),
    (["--min-frequency", "0"], ["--min-frequency 0", "above 0"]),
    (["--eos-token", ""], ["special token is empty"]),
    (["--text-field", "body"], ["a.jsonl:1", "no field", "body", "text_field"]),
])  # fmt: skip
def test_what_cannot_be_is_refused(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    assert trained(texts, tmp_path / "t", *options) == 2
    err = capsys.readouterr().err
    assert [word for word in words if word not in err] == []
    assert not (tmp_path / "t").exists()


def test_missing_data_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained(tmp_path / "gone.jsonl", tmp_path / "t") == 2
    assert f"{tmp_path / 'gone.jsonl'} does not exist" in capsys.readouterr().err


def test_a_small_corpus_gives_fewer_tokens_and_a_warning(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(texts, tmp_path / "t", "--vocab-size", "90000", "--documents", "2") == 0
    assert "fewer tokens than --vocab-size 90,000" in capsys.readouterr().err
