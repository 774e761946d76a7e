"""`train-tokenizer`: a byte-level BPE tokenizer from the texts that data-prep would read.

The directory holds tokenizer.json and tokenizer_config.json, as transformers' AutoTokenizer and data-prep load them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from data_prep_lib import addresses, schema
from data_prep_lib.config import Dataset, load_config
from data_prep_lib.errors import ConfigError, InputError, RefusedError
from data_prep_lib.inputs import Source, find_source
from data_prep_lib.readers import ShardReader
from data_prep_lib.remote import SCHEME
from data_prep_lib.safe_files import disk_error, write_json, writing
from data_prep_lib.shards import Piece, Shard

BYTES = 256  # each is a token, so that no text is unknown


@dataclass(frozen=True)
class Settings:
    """What is trained. `documents` is the most that are read of each dataset, None for all."""

    vocab_size: int
    min_frequency: int
    eos: str
    bos: str | None
    pad: str | None
    others: tuple[str, ...]
    documents: int | None

    @property
    def specials(self) -> list[str]:
        """All special tokens, each once; their ids are 0, 1, 2, ..."""
        named = (self.eos, self.bos, self.pad, *self.others)
        return list(dict.fromkeys(token for token in named if token is not None))


def main(argv: list[str]) -> int:
    """Train and write; the directory goes to stdout, the size of the vocabulary to stderr.

    Raises:
        ConfigError, InputError, RefusedError: an option, the data, or another tokenizer in the directory.
    """
    options = _parser().parse_args(argv)
    settings = _settings(options)
    output = schema.path("--output", str(options.output))
    if (output / "tokenizer.json").exists() and not options.overwrite:
        raise RefusedError(f"{output}: a tokenizer is there already\n  give another --output, or --overwrite")
    datasets = _datasets(options)
    with tempfile.TemporaryDirectory() as kept:
        sources = [find_source(dataset, Path(kept)) for dataset in datasets]
        for source in sources:
            for note in source.notes:
                print(note, file=sys.stderr)
        text, size = train(_texts(sources, settings.documents), settings)
    try:
        # tokenizer.json is the last: the directory is a tokenizer when it is complete
        with writing(output / "tokenizer.json") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())  # where there is no room for it, the former one stays
            (output / "tokenizer.json").unlink(missing_ok=True)  # a kill never leaves it beside the new one's names
            write_json(output / "tokenizer_config.json", _config(settings))
    except OSError as e:
        raise disk_error(e, output) from None
    print(f"{size:,} tokens, of them {len(settings.specials)} special", file=sys.stderr)
    if size < settings.vocab_size:
        text = f"warning: the texts have no more pairs that come {settings.min_frequency} times; fewer tokens than "
        print(f"{text}--vocab-size {settings.vocab_size:,}\n  more data, or a lower --min-frequency", file=sys.stderr)
    print(output)
    return 0


def train(texts: Iterable[str], settings: Settings) -> tuple[str, int]:
    """(tokenizer.json, tokens in the vocabulary).

    Raises:
        InputError: there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    first = next(iterator := iter(texts), None)
    if first is None:
        raise InputError("the input holds no document\n  name files with text by --input, or datasets by --config")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=settings.specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain([first], iterator), trainer)
    return tokenizer.to_str(pretty=True), tokenizer.get_vocab_size()


def _texts(sources: list[Source], documents: int | None) -> Iterator[str]:
    for source in sources:
        pieces = tuple(
            Piece(file.path, file.size, 0, file.size, file.mtime_ns, file.name, file.version) for file in source.files
        )
        shard = Shard(source.dataset.name, 0, source.format, source.dataset.text_field, pieces)
        yield from islice(ShardReader(shard, "fail"), documents)


def _config(settings: Settings) -> dict[str, object]:
    named = {"eos_token": settings.eos, "bos_token": settings.bos, "pad_token": settings.pad}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{name: token for name, token in named.items() if token is not None},
    }


def _settings(options: argparse.Namespace) -> Settings:
    settings = Settings(
        options.vocab_size,
        options.min_frequency,
        options.eos_token,
        options.bos_token,
        options.pad_token,
        tuple(options.special),
        options.documents,
    )
    for name in ("min_frequency", "documents"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}\n  valid: a number above 0")
    if not all(settings.specials):
        raise ConfigError("a special token is empty\n  valid: a text such as <|endoftext|>")
    least = BYTES + len(settings.specials)
    if settings.vocab_size < least:
        what = f"{BYTES} bytes and {len(settings.specials)} special tokens are in every vocabulary"
        raise ConfigError(f"--vocab-size {settings.vocab_size}: {what}\n  valid: {least} or more, such as 32000")
    return settings


def _datasets(options: argparse.Namespace) -> tuple[Dataset, ...]:
    if options.config is None:
        return tuple(_input(number, path, options.text_field) for number, path in enumerate(options.input, start=1))
    datasets = load_config(options.config).datasets
    for dataset in datasets:
        if "${" in dataset.path:
            fix = "write the path out, or name the files by --input"
            raise ConfigError(f"{options.config}: dataset {dataset.name!r}: {dataset.path} is not resolved\n  {fix}")
    return datasets


def _input(number: int, path: str, field: str) -> Dataset:
    if path.startswith(SCHEME):
        return Dataset(f"input-{number}", path, text_field=field, split="train")
    if "://" in path:
        return Dataset(f"input-{number}", addresses.of_input("--input", path), text_field=field)
    return Dataset(f"input-{number}", str(schema.path("--input", path)), text_field=field)


def _parser() -> argparse.ArgumentParser:
    about = "Train a byte-level BPE tokenizer."
    parser = argparse.ArgumentParser(prog="data_prep.py train-tokenizer", description=about, allow_abbrev=False)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--input", nargs="+", metavar="PATH", help="files, globs or directories of JSONL, text, parquet")
    which.add_argument("--config", type=Path, metavar="FILE", help="a configuration of data-prep, for its datasets")
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="the directory that becomes the tokenizer")
    add("--vocab-size", type=int, default=32000, metavar="N", help="tokens, special ones included (32000)")
    add("--min-frequency", type=int, default=2, metavar="N", help="a pair that comes less often is not merged (2)")
    add("--text-field", default="text", metavar="NAME", help="the field of JSONL and parquet, with --input (text)")
    add("--eos-token", default="<|endoftext|>", metavar="TOKEN", help="what ends a document (<|endoftext|>)")
    add("--bos-token", metavar="TOKEN", help="what begins a document, where the model is to have one")
    add("--pad-token", metavar="TOKEN", help="what fills short sequences up")
    add("--special", nargs="+", default=[], metavar="TOKEN", help="more special tokens, such as those of a chat")
    add("--documents", type=int, metavar="N", help="read the first N of each dataset (all)")
    add("--overwrite", action="store_true", help="replace the tokenizer that is in the directory")
    return parser
