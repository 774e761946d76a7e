"""scripts/make_tiny_corpus.py: a tokenizer that transformers loads and a corpus, made once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import LIMIT_S

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_tiny_corpus.py"


def test_tokenizer_and_corpus(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    argv = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--vocab-size", "300"]
    subprocess.run(argv, check=True, timeout=LIMIT_S, capture_output=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert len(tokenizer) == 300
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == (
        "<|endoftext|>",
        "<|endoftext|>",
        "<|padding|>",
    )
    assert tokenizer.decode(tokenizer("def f():\n\treturn 'naïve'")["input_ids"]) == "def f():\n\treturn 'naïve'"
    for name, least in (("stdlib", 200), ("packages", 1)):
        rows = [json.loads(line) for line in (tmp_path / "corpus" / f"{name}.jsonl").open()]
        assert len(rows) >= least and all(set(row) == {"text", "source"} and row["text"] for row in rows)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = subprocess.run(argv, check=True, timeout=LIMIT_S, capture_output=True, text=True)
    assert "already there" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
