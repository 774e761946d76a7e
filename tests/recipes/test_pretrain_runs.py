"""pretrain.py trains for real: two processes over gloo on bin/idx data, stopped, killed, resumed, and finished.

The runs are made once for all tests of this file, by forks of a process that has AutoModel imported:

    whole        12 steps without a disturbance (in conftest.py: other files use it, too)
    killed       the same run in another directory; every rank kills itself after step 7
    continued    started again there; every rank sends itself SIGTERM in step 8
    nanogpt      2 steps of configs/pretrain/nanogpt.yaml, made small, in one process alone
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.recipes.pretrain_fixtures import ROOT, SMALL, VOCABULARY, Run, start, write_config

sys.path.insert(0, str(ROOT / "recipes"))

from checkpoint_lib.faults import find_faults

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


@dataclass(frozen=True)
class Killed:
    """What a killed run had left, read before it was continued in the same directory."""

    code: int
    steps: list[int]
    latest: str
    finished: bool


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
    """A few steps of nanogpt.yaml, made small, in a single process."""
    small = {
        "step_scheduler": {"max_steps": 2, "global_batch_size": 2, "local_batch_size": 1},
        "model": {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 1},
        "lr_scheduler": {"lr_warmup_steps": 1, "lr_decay_steps": 2},
        "distributed": {"autocast_dtype": "bfloat16"},
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
    again = start(whole.directory / "config.yaml", processes=1)
    assert again.code == 0
    assert "nothing left to do" in again.output
    assert "finished: step 12 of 12; checkpoint " in again.output
    assert len(whole.losses()) == len(whole.records())
    assert "model" not in again.output.partition("nothing left to do")[0].lower()  # told before anything is built


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


def test_checkpoints_saved_on_a_signal_or_without_a_transformers_class_are_whole(continued: Run, nanogpt: Run) -> None:
    checkpoints = [path for run in (continued, nanogpt) for path in sorted(run.checkpoints.glob("epoch_*"))]
    assert [path.name for path in checkpoints] == ["epoch_0_step_4", "epoch_0_step_8", "epoch_0_step_1"]
    assert [find_faults(path) for path in checkpoints] == [[], [], []]


def test_nanogpt_trains_in_a_single_process_and_exports_nothing(nanogpt: Run) -> None:
    assert nanogpt.code == 0, nanogpt.output
    assert list(nanogpt.losses()) == [0, 1]
    assert "layers compute in bfloat16 (distributed.autocast_dtype)" in nanogpt.output
    record = json.loads((nanogpt.directory / "finished.json").read_text())
    assert record["checkpoint"] == str(nanogpt.checkpoints / "epoch_0_step_1")
    assert record["hf"] is None
