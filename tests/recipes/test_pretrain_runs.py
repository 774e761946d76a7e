"""pretrain.py trains for real: two processes over gloo on bin/idx data, stopped, killed, resumed, and finished.

The runs are expensive (each process imports AutoModel), so that they are made once for all tests of this file:

    whole        12 steps without a disturbance
    killed       the same run in another directory; every rank kills itself after step 7
    continued    started again there; every rank sends itself SIGTERM in step 8
    nanogpt      2 steps of configs/pretrain/nanogpt.yaml, made small, in one process without torchrun
"""

from __future__ import annotations

import json
import math
import os
import random
import struct
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
PRETRAIN = str(ROOT / "recipes" / "pretrain.py")
VOCABULARY = 300

pytestmark = pytest.mark.train

DISTURBED = """
import os, signal
from nemo_automodel.recipes.llm.train_ft import TrainFinetuneRecipeForNextTokenPrediction

class Disturbed(TrainFinetuneRecipeForNextTokenPrediction):
    def log_train_metrics(self, log_data):
        super().log_train_metrics(log_data)
        if log_data.step == int(os.environ["DISTURB_AT"]):
            os.kill(os.getpid(), signal.Signals[os.environ["DISTURB_WITH"]])
"""
"""A recipe class whose every rank sends itself a signal at the end of a given step."""

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


@dataclass(frozen=True)
class Killed:
    """What a killed run had left, read before it was continued in the same directory."""

    code: int
    steps: list[int]
    latest: str
    finished: bool


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


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in the places where the configs look for it: documents that count upwards, which a model soon learns."""
    directory = tmp_path_factory.mktemp("data")
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
    write_nanogpt(
        directory / "nanogpt" / "latest" / "train" / "train_00000.bin",
        [token for document in documents for token in document],
    )
    return directory


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
    """Runs the recipe to its end; with more than one process under torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    ended = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), PRETRAIN, "--config", str(config)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LAUNCH_RUN_DIR": str(config.parent), **environment},
    )  # fmt: skip
    return Run(ended.returncode, ended.stdout, config.parent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Run:
    """A run that nothing disturbs."""
    config = write_config("tiny", tmp_path_factory.mktemp("whole"), data_dir, SMALL)
    return start(config, processes=2)


@pytest.fixture(scope="module")
def disturbed_config(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The same run once more, with a recipe class of the user's own that can be told to send itself a signal."""
    directory = tmp_path_factory.mktemp("disturbed")
    (directory / "disturbed_recipe.py").write_text(DISTURBED)
    return write_config("tiny", directory, data_dir, {**SMALL, "_step_recipe": "disturbed_recipe:Disturbed"})


def start_disturbed(config: Path, step: int, signal_name: str) -> Run:
    """Runs the disturbed recipe, each of whose ranks sends itself the signal at the end of `step`."""
    surroundings = {"PYTHONPATH": str(config.parent), "DISTURB_AT": str(step), "DISTURB_WITH": signal_name}
    return start(config, processes=2, **surroundings)


@pytest.fixture(scope="module")
def killed(disturbed_config: Path) -> Killed:
    """A run whose every rank is killed after step 7."""
    run = start_disturbed(disturbed_config, 7, "SIGKILL")
    latest = (run.checkpoints / "LATEST").readlink().name
    return Killed(run.code, list(run.losses()), latest, (run.directory / "finished.json").exists())


@pytest.fixture(scope="module")
def continued(disturbed_config: Path, killed: Killed) -> Run:
    """The killed run started again, and sent SIGTERM in step 8."""
    return start_disturbed(disturbed_config, 8, "SIGTERM")


@pytest.fixture(scope="module")
def nanogpt(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Run:
    """A few steps of nanogpt.yaml, made small, in a single process without torchrun."""
    small = {
        "step_scheduler": {"max_steps": 2, "global_batch_size": 2, "local_batch_size": 1},
        "model": {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 1},
        "lr_scheduler": {"lr_warmup_steps": 1, "lr_decay_steps": 2},
    }
    config = write_config("nanogpt", tmp_path_factory.mktemp("nanogpt"), data_dir, small)
    return start(config, processes=1)


def test_a_run_learns_and_ends_with_exit_0(whole: Run) -> None:
    assert whole.code == 0, whole.output
    losses = whole.losses()
    assert list(losses) == list(range(12))
    assert losses[0] == pytest.approx(math.log(VOCABULARY), abs=0.3)
    assert losses[11] < losses[0]
    assert all(math.isfinite(loss) for loss in losses.values())


def test_the_log_says_what_the_cpu_adapter_did(whole: Run) -> None:
    said = [line for line in whole.output.splitlines() if line.startswith("no CUDA: ")]
    assert len(said) == 1
    assert "dist_env.backend is gloo instead of nccl" in said[0]


def test_it_validates_on_its_own_steps_and_with_every_checkpoint(whole: Run) -> None:
    assert [record["step"] for record in whole.records("validation.jsonl")] == [4, 5, 9, 11]


def test_finished_json_names_the_last_checkpoint_and_its_export(whole: Run) -> None:
    record = json.loads((whole.directory / "finished.json").read_text())
    checkpoint = whole.checkpoints / "epoch_0_step_11"
    assert (record["step"], record["max_steps"]) == (12, 12)
    assert record["checkpoint"] == str(checkpoint)
    assert record["hf"] == str(checkpoint / "model" / "consolidated")
    assert f"finished: step 12 of 12; checkpoint {checkpoint}\n" in whole.output


def test_transformers_loads_the_export_with_its_tokenizer(whole: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    exported = json.loads((whole.directory / "finished.json").read_text())["hf"]
    model, loading = AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = AutoTokenizer.from_pretrained(exported)("abc", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 3, VOCABULARY)


def test_the_exported_weights_are_the_trained_ones(whole: Run) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    exported = json.loads((whole.directory / "finished.json").read_text())["hf"]
    model = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    counting = torch.arange(64).view(2, 32)
    loss = model(counting, labels=counting).loss.item()
    assert loss == pytest.approx(whole.records("validation.jsonl")[-1]["val_loss"], abs=0.5)


def test_the_indexes_lie_in_the_run_directory(whole: Run) -> None:
    assert list((whole.directory / "index" / "train").glob("*-shuffle_index.npy"))
    assert list((whole.directory / "index" / "validation").glob("*-shuffle_index.npy"))


def test_a_finished_run_started_again_says_so_at_once(whole: Run) -> None:
    began = time.monotonic()
    again = start(whole.directory / "config.yaml", processes=1)
    assert again.code == 0
    assert "nothing left to do" in again.output
    assert "finished: step 12 of 12; checkpoint " in again.output
    assert len(whole.losses()) == len(whole.records())
    assert time.monotonic() - began < 3


def test_a_killed_run_leaves_its_last_whole_checkpoint_and_every_record(killed: Killed) -> None:
    assert killed.code != 0
    assert killed.steps == list(range(8))
    assert killed.latest == "epoch_0_step_4"
    assert not killed.finished


def test_a_killed_run_continues_from_its_last_whole_checkpoint_as_if_undisturbed(whole: Run, continued: Run) -> None:
    steps = [record["step"] for record in continued.records()]
    assert steps == [*range(8), 5, 6, 7, 8]
    expected = whole.records()
    for record in continued.records():
        undisturbed = expected[record["step"]]
        for metric in ("loss", "grad_norm", "lr"):
            assert record[metric] == pytest.approx(undisturbed[metric], rel=1e-4), (record["step"], metric)


def test_a_signal_saves_and_the_run_is_not_finished(continued: Run) -> None:
    checkpoint = continued.checkpoints / "epoch_0_step_8"
    assert continued.code == 0, continued.output
    assert f"stopped by signal at step 9; checkpoint {checkpoint}\n" in continued.output
    assert not (checkpoint / ".incomplete").exists()
    assert not (continued.directory / "finished.json").exists()


def test_nanogpt_trains_in_a_single_process_and_exports_nothing(nanogpt: Run) -> None:
    assert nanogpt.code == 0, nanogpt.output
    assert list(nanogpt.losses()) == [0, 1]
    record = json.loads((nanogpt.directory / "finished.json").read_text())
    assert record["checkpoint"] == str(nanogpt.checkpoints / "epoch_0_step_1")
    assert record["hf"] is None
