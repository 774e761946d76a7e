"""A small corpus, a small tokenizer and a way to run recipes/data_prep.py as a job runs it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import warm
from tests.conftest import LIMIT_S, wait_for

RECIPE = Path(__file__).parents[2] / "recipes" / "data_prep.py"
sys.path.insert(0, str(RECIPE.parent))

CODE = ["def", "return", "import", "self.value", "=", "None\n", "", "", "for", "if", "else:", "{}", "3.14", "0x7f\r\n"]
PROSE = ["naïve", "東京", "Ελλάδα", "🙂", "\t", "the", "of", "and", "to", "in"]
WORDS = CODE + PROSE


def documents(count: int, salt: str = "") -> list[str]:
    """Texts of 5 to 200 words, the same on every machine."""
    texts = []
    for i in range(count):
        digest = hashlib.sha256(f"{salt}{i}".encode()).digest() * 7
        texts.append(f"{salt}{i} " + " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 5 + digest[0] % 195]))
    return texts


def make_tokenizer(directory: Path, vocab_size: int = 380) -> Path:
    """Byte-level BPE with <|endoftext|> as EOS and BOS, as save_pretrained lays it out."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents(50), trainer)
    tokenizer.enable_truncation(8)  # as some published files have it; it must not reach the data
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True},
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def write_jsonl(path: Path, texts: Iterable[str], field: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"id": i, field: text}) + "\n" for i, text in enumerate(texts)))
    return path


def config(tmp: Path, data: Path | str, **changes: Any) -> dict[str, Any]:
    """A valid configuration with one dataset; makes the tokenizer."""
    tokenizer = tmp / "tokenizer"
    if not tokenizer.exists():
        make_tokenizer(tokenizer)
    base: dict[str, Any] = {
        "datasets": [{"name": "web", "path": str(data)}],
        "tokenizer": str(tokenizer),
        "output_dir": str(tmp / "out"),
        "num_shards": 3,
        "workers": 2,
        "splits": {"train": 0.8, "valid": 0.1, "test": 0.1},
    }
    return base | changes


def command(values: dict[str, Any], tmp: Path) -> list[str]:
    path, text = tmp / "config.yaml", yaml.safe_dump(values)
    if not path.exists() or path.read_text() != text:  # another node may be reading it
        path.write_text(text)
    return [sys.executable, str(RECIPE), "--config", str(path)]


def run(argv: list[str], env: Mapping[str, str] = os.environ, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the recipe to its end: forked from a process that has it imported, unless subprocess.run has to do more."""
    if not options and warm.can_run(env):
        return warm.run(argv, env, Path.cwd(), LIMIT_S, server=warm.RECIPES)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)


def start(argv: list[str], env: Mapping[str, str] = os.environ) -> warm.Process:
    """Start the recipe, forked in the same way."""
    return warm.start(argv, env, Path.cwd(), server=warm.RECIPES)


def prepare(values: dict[str, Any], tmp: Path, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the recipe to its end and check its exit code."""
    done = run(command(values, tmp), **options)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


HELD_SHARD = """
import os, time
from data_prep_lib import worker
build, update = worker._build, worker._Meter.update
def held(shard, *rest):
    worker._Meter.update = wait if shard.number == 3 else update
    build(shard, *rest)
def wait(meter, *done):
    update(meter, *done)
    open("{tmp}/held", "w").close()
    while not os.path.exists("{tmp}/go"):
        if meter._counters.get_obj()[len(meter._last)]:
            raise worker.Stopped
        time.sleep(0.02)
worker._build = held
"""
"""A worker in the middle of shard 3 that goes on when the file `go` is there, and hears as always when to stop."""


def held(
    values: dict[str, Any], tmp: Path, hook: str = HELD_SHARD, environ: Mapping[str, str] = os.environ
) -> subprocess.Popen[str]:
    """The recipe, running in a process group of its own; it has come to where the hook holds it, and cannot end."""
    (tmp / "hook").mkdir()
    (tmp / "hook" / "sitecustomize.py").write_text(hook.format(tmp=tmp))
    pipe, path = subprocess.PIPE, f"{tmp / 'hook'}:{RECIPE.parent}"
    process = subprocess.Popen(
        command(values, tmp), stdout=pipe, stderr=pipe, text=True, start_new_session=True,
        env={**environ, "PYTHONPATH": path},
    )  # fmt: skip
    wait_for(lambda: (tmp / "held").exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def output(base: Path) -> Path:
    """The newest complete output below an output_dir, as a path that holds its hash."""
    return (base / "latest").resolve(strict=True)


def digests(base: Path) -> dict[str, str]:
    """sha256 of every file that training reads; blend.json's paths are made relative first."""
    root = output(base)
    files = [p for split in ("train", "valid", "test") for p in (root / split).glob("*")]
    found = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}
    return found | {"blend.json": (root / "blend.json").read_text().replace(str(root), "ROOT")}


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))
