"""data-prep of 5 GB, whole and killed twice: the same bytes. Slow; DATA_PREP_GB says another size.

Twice the size is needed on the disk of the temporary directory. What it prints (-s) stands in docs/data-scale.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import data_prep_corpus
from benchmarks.process_tree import measure
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

FILES = 20


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Path]:
    """JSONL of this machine's texts; where it has fewer, they come again with their lines in another order."""
    size = float(os.environ.get("DATA_PREP_GB", "5")) * 1e9
    documents = data_prep_corpus.texts(100)
    data_prep_corpus.write_tokenizer(tmp_path / "tokenizer", documents, 32_000)
    (tmp_path / "corpus").mkdir()
    rng = random.Random(3)
    for number in range(FILES):
        with open(tmp_path / "corpus" / f"{number:02d}.jsonl", "w", encoding="utf-8") as file:
            while file.tell() < size / FILES:
                text = data_prep_corpus.shuffled(documents[rng.randrange(len(documents))], rng)
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    yield tmp_path
    shutil.rmtree(tmp_path)


def command(folder: Path, output: str) -> list[str]:
    values = {
        "datasets": [{"name": "c", "path": str(folder / "corpus"), "include": ["*"]}],
        "tokenizer": str(folder / "tokenizer"),
        "output_dir": str(folder / output),
        "workers": 2,
        "splits": {"train": 0.99, "valid": 0.01},
    }
    config = folder / f"{output}.json"
    config.write_text(json.dumps(values))
    return [sys.executable, str(ROOT / "recipes" / "data_prep.py"), "--config", str(config)]


def digests(output: Path) -> dict[str, str]:
    """File -> sha256, of all that training reads."""
    found = {}
    for path in sorted((output / "latest").rglob("*_*.*")):
        if path.suffix in (".bin", ".idx"):
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            found[path.relative_to(output / "latest").as_posix()] = digest.hexdigest()
    return found


def record(output: Path) -> Any:
    return json.loads((output / "latest" / "record.json").read_text())


def test_killed_twice_equals_undisturbed(corpus: Path) -> None:
    whole = measure(command(corpus, "whole"))
    expected, shards = digests(corpus / "whole"), record(corpus / "whole")
    size = sum(path.stat().st_size for path in (corpus / "corpus").iterdir())
    print(f"\n{size / 1e9:.2f} GB in {whole}")
    print(json.dumps({key: shards[key] for key in shards if key in ("engine", "counts", "speed", "tokens")})[:600])

    total = len([name for name in expected if name.startswith("train/") and name.endswith(".bin")])
    receipts = corpus / "killed"
    begun = time.monotonic()
    for part in (1, 2):
        with subprocess.Popen(command(corpus, "killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
            while len(list(receipts.glob("*/.data_prep/receipts/*.json"))) < total * part // 3:
                assert run.poll() is None, "it was over before it could be killed: a larger DATA_PREP_GB"
                time.sleep(0.05)
            run.kill()
    subprocess.run(command(corpus, "killed"), check=True)
    print(f"killed after {total // 3} and {total * 2 // 3} of {total} shards: {time.monotonic() - begun:.0f} s")
    assert digests(corpus / "killed") == expected
