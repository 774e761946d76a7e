"""A small tokenizer and a real corpus that every machine has, without a network.

    python scripts/make_tiny_corpus.py [--out DIR] [--vocab-size N]

DIR (the checkout's data/tiny, where the configs called tiny look for it) gets

DIR/tokenizer/       byte-level BPE, trained on the standard library; AutoTokenizer.from_pretrained loads it
DIR/corpus/          stdlib.jsonl (the Python standard library's sources) and packages.jsonl (the installed packages'
                     texts), one {"text", "source"} a line

A second run with the same settings does nothing. Killed at any moment, it leaves no half-written file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parents[1] / "data" / "tiny"
END_OF_TEXT = "<|endoftext|>"
# A token of its own: where padding is the end-of-text token, losses have to guess which of the two they see.
PADDING = "<|padding|>"
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
PACKAGE_TEXTS = (".md", ".rst", ".txt")
PACKAGES_BYTES = 4 << 20
LARGEST_TEXT = 256 << 10
SMALLEST_TEXT = 200


def parser() -> argparse.ArgumentParser:
    """What it takes."""
    found = argparse.ArgumentParser(description="Make a small tokenizer and a corpus from this Python installation.")
    found.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="(default: the checkout's data/tiny)")
    found.add_argument("--vocab-size", type=int, default=4096, metavar="N", help="tokens, 300 or more (default 4096)")
    return found


def main() -> int:
    args = parser().parse_args()
    if args.vocab_size < 300:  # 256 bytes, the special tokens and a few merges
        parser().error(f"--vocab-size: {args.vocab_size} is not valid; valid: 300 or more")
    try:
        make(args.out, args.vocab_size)
    except OSError as e:
        print(f"error: {e.filename or args.out}: {e.strerror or e}", file=sys.stderr)
        return 1
    return 0


def make(out: Path, vocab_size: int) -> None:
    # written last: with it, everything before it is whole
    made, wanted = out / "made.json", _settings(vocab_size)
    if made.exists() and json.loads(made.read_text(encoding="utf-8")) == wanted:
        print(f"{out}: already there", file=sys.stderr)
        return
    made.unlink(missing_ok=True)
    sources = list(standard_library())
    write_jsonl(out / "corpus" / "stdlib.jsonl", sources)
    write_jsonl(out / "corpus" / "packages.jsonl", packages())
    write_tokenizer(out / "tokenizer", (text for _, text in sources), vocab_size)
    write(made, json.dumps(wanted, indent=1))
    print(f"{out}: corpus of {len(sources)} sources, tokenizer of {vocab_size} tokens", file=sys.stderr)


def _settings(vocab_size: int) -> dict[str, Any]:
    return {"vocab_size": vocab_size, "python": sys.version, "stdlib": sysconfig.get_path("stdlib")}


def standard_library() -> Iterator[tuple[str, str]]:
    """(name, text) of about 12 MB of Python, in sorted order, without tests."""
    found = _texts(Path(sysconfig.get_path("stdlib")), (".py",), LEFT_OUT)
    return ((name, text) for name, text in found if text.strip())


def packages() -> Iterator[tuple[str, str]]:
    """(name, text) of readmes, licences and notes; each text once, up to a few megabytes."""
    seen: set[str] = set()
    size = 0
    for name, text in _texts(Path(sysconfig.get_path("purelib")), PACKAGE_TEXTS, {"__pycache__"}):
        if text in seen or not SMALLEST_TEXT <= len(text) <= LARGEST_TEXT:
            continue
        seen.add(text)
        size += len(text.encode("utf-8"))
        if size > PACKAGES_BYTES:
            return
        yield name, text


def _texts(root: Path, suffixes: tuple[str, ...], left_out: set[str]) -> Iterator[tuple[str, str]]:
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = sorted(set(subdirectories) - left_out)
        for name in sorted(files):
            path = Path(directory, name)
            if name.endswith(suffixes) or (".md" in suffixes and name == "METADATA"):
                try:
                    yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
                except (UnicodeDecodeError, PermissionError):
                    continue  # a few sources are in other encodings on purpose


def write_jsonl(path: Path, documents: Iterable[tuple[str, str]]) -> None:
    rows = (json.dumps({"text": text, "source": name}, ensure_ascii=False) + "\n" for name, text in documents)
    write(path, "".join(rows))


def write_tokenizer(directory: Path, texts: Iterable[str], vocab_size: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PADDING,
        "model_max_length": 1 << 20,
        "clean_up_tokenization_spaces": False,
    }
    write(directory / "tokenizer_config.json", json.dumps(config, indent=1))
    write(directory / "tokenizer.json", tokenizer.to_str())


def write(path: Path, text: str) -> None:
    """A file that is there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
