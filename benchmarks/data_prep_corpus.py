"""The corpus of data_prep.py: this machine's own texts, and a tokenizer trained on some of them."""

from __future__ import annotations

import json
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.make_tiny_corpus import write_tokenizer as train

SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".hpp", ".js", ".c", ".cpp")
SMALLEST, LARGEST = 200, 1 << 17  # characters of a text


def texts(megabytes: float) -> list[str]:
    """Different texts, shuffled; where the machine has fewer, they come again with their lines in another order."""
    roots = [Path(sysconfig.get_path("purelib")), Path("/usr/include"), Path("/usr/share"), Path("/usr/lib")]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.suffix in SUFFIXES]
    rng = random.Random(1)
    rng.shuffle(files)
    found, seen, left = [], set(), megabytes * 1e6
    for text in _read(files):
        if text not in seen:
            seen.add(text)
            found.append(text)
            left -= len(text.encode())
        if left <= 0:
            return found
    different = len(found)
    while left > 0:
        found.append(shuffled(found[rng.randrange(different)], rng))
        left -= len(found[-1].encode())
    return found


def _read(files: list[Path]) -> Iterator[str]:
    for path in files:
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            continue
        if SMALLEST <= len(text) <= LARGEST:
            yield text


def shuffled(text: str, rng: random.Random) -> str:
    """Another text of the same lines."""
    lines = text.splitlines(keepends=True)
    rng.shuffle(lines)
    return "".join(lines)


def write(folder: Path, documents: list[str], copies: int) -> None:
    """folder/{jsonl,parquet}/0.*, and in {jsonl,parquet}-more/ that many parts, each with its own order of lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(2)
    for kind in ("jsonl", "parquet", "jsonl-more", "parquet-more"):
        (folder / kind).mkdir(parents=True)
    for part in range(copies):
        rows = documents if part == 0 else [shuffled(text, rng) for text in documents]
        more = "" if part == 0 else "-more"
        with open(folder / f"jsonl{more}" / f"{part}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(
                json.dumps({"text": text, "id": i}, ensure_ascii=False) + "\n" for i, text in enumerate(rows)
            )
        pq.write_table(pa.table({"text": rows}), folder / f"parquet{more}" / f"{part}.parquet", row_group_size=500)
    for kind in ("jsonl", "parquet"):
        (folder / f"{kind}-more" / f"0.{kind}").hardlink_to(folder / kind / f"0.{kind}")


def write_tokenizer(directory: Path, documents: list[str], vocab_size: int) -> None:
    """Byte-level BPE, trained on 10 MB of the documents."""
    size, some = 0, []
    for text in documents:
        some.append(text)
        size += len(text)
        if size > 10e6:
            break
    train(directory, some, vocab_size)
