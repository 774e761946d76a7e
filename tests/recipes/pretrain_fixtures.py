"""What tests that train share: a small config, data for it, and a run of pretrain.py in processes of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import random
import struct
import subprocess
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
PRETRAIN = str(ROOT / "recipes" / "pretrain.py")
VOCABULARY = 300

SMALL = {
    "step_scheduler": {
        "max_steps": 12, "ckpt_every_steps": 5, "val_every_steps": 6, "global_batch_size": 8, "local_batch_size": 2
    },
    "model": {"config": {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}},
    "dataset": {"seq_length": 32},
    "validation_dataset": {"num_val_samples": 8},
    "lr_scheduler": {"lr_warmup_steps": 2, "lr_decay_steps": 12},
}  # fmt: skip
"""What makes a run of configs/pretrain/tiny.yaml take seconds; everything else stays as it is."""


@dataclass(frozen=True)
class Run:
    """A process that has ended: its code, what it printed, and the run's directory."""

    code: int
    output: str
    directory: Path

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    def records(self, name: str = "training.jsonl") -> list[dict[str, Any]]:
        """The metric records, in the order in which they were written."""
        return [json.loads(line) for line in (self.checkpoints / name).read_text().splitlines()]

    def losses(self) -> dict[int, float]:
        """Step -> loss; of a step that was done twice, the later one."""
        return {record["step"]: record["loss"] for record in self.records()}


def write_megatron(prefix: Path, documents: list[list[int]]) -> None:
    """Writes documents of 16-bit ids as Megatron's .bin and .idx."""
    lengths = array("i", map(len, documents))
    pointers = array("q", [0])
    for length in lengths[:-1]:
        pointers.append(pointers[-1] + 2 * length)
    with prefix.with_suffix(".bin").open("wb") as tokens:
        for document in documents:
            array("H", document).tofile(tokens)
    with prefix.with_suffix(".idx").open("wb") as index:
        index.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1))
        lengths.tofile(index)
        pointers.tofile(index)
        array("q", range(len(lengths) + 1)).tofile(index)


def write_nanogpt(path: Path, tokens: list[int]) -> None:
    """Writes 16-bit ids as one nanoGPT shard."""
    header = array("i", [278895051, 1, len(tokens), 2] + [0] * 252)
    path.write_bytes(header.tobytes() + array("H", tokens).tobytes())


def write_tokenizer(directory: Path) -> None:
    """Saves a byte tokenizer with an end-of-text token, the shape in which data preparation leaves one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(str(directory))


def write_data(directory: Path) -> None:
    """Writes data where the configs look for it: documents that count upwards, which a model soon learns."""
    megatron = directory / "tiny" / "megatron"
    megatron.mkdir(parents=True)
    (directory / "nanogpt" / "latest" / "train").mkdir(parents=True)
    generator = random.Random(0)
    documents = [
        [(start + i) % VOCABULARY for i in range(generator.randrange(20, 80))]
        for start in (generator.randrange(VOCABULARY) for _ in range(200))
    ]
    write_megatron(megatron / "train", documents[:150])
    write_megatron(megatron / "valid", documents[150:])
    blend = {"train": ["1.0", str(megatron / "train")], "valid": ["1.0", str(megatron / "valid")]}
    (megatron / "blend.json").write_text(json.dumps(blend))
    write_tokenizer(directory / "tiny" / "tokenizer")
    shard = directory / "nanogpt" / "latest" / "train" / "train_00000.bin"
    write_nanogpt(shard, [token for document in documents for token in document])


def write_config(name: str, directory: Path, data_dir: Path, changes: dict[str, Any]) -> Path:
    """Resolves configs/pretrain/NAME.yaml as the launcher does, and writes it less `run`, into the run's directory."""
    source = OmegaConf.load(ROOT / "configs" / "pretrain" / f"{name}.yaml")
    run = {"run": {"dir": str(directory), "name": directory.name, "data_dir": str(data_dir)}}
    content = OmegaConf.to_container(OmegaConf.merge(source, run, changes), resolve=True)
    assert isinstance(content, dict)
    del content["run"]
    path = directory / "config.yaml"
    directory.mkdir(exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


def start(config: Path, *, processes: int, **environment: str) -> Run:
    """Runs the recipe to its end, in forks of a process that has AutoModel imported (train_server.py)."""
    surroundings = {"OMP_NUM_THREADS": "1", "LAUNCH_RUN_DIR": str(config.parent), **environment}
    command = [PRETRAIN, "--config", str(config)]
    request = {"processes": processes, "command": command, "environ": {**os.environ, **surroundings}}
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(f"{json.dumps(request)}\n")
    server.stdin.flush()
    code, output = json.loads(server.stdout.readline())
    assert code is not None, f"it has not come to its end:\n{output}"
    return Run(code, output, config.parent)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Until this process ends: it reads from a pipe of its."""
    command = [sys.executable, str(Path(__file__).with_name("train_server.py"))]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environ)
    atexit.register(server.communicate)
    return server
