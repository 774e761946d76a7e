"""pretrain_bridge.py and convert.py with the real Megatron-Bridge on two CPU ranks: trained, interrupted, exported."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.recipes.bridge_fixtures import (
    SCRIPTS,
    STEPS,
    BridgeRun,
    in_forks,
    needs_bridge,
    run_script,
    write_bridge_data,
    write_config,
)

pytestmark = [pytest.mark.train, pytest.mark.timeout(1200), needs_bridge]

TOLERANCE = 1e-4  # of the losses of an interrupted run; measured: 0
SECRET = "acme-0123456789-token"
LOGITS = 1e-4  # of the logits of an export, where the largest is about 1; measured: 2e-6


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_bridge_data(directory)
    return directory


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeRun]:
    """A run that nothing has disturbed; its config names a secret."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    config = write_config(run_dir, data_dir, {"logger": {"wandb_entity": "REFERENCE"}})
    config.write_text(config.read_text().replace("REFERENCE", "${oc.env:ACME_TOKEN}"))
    run = BridgeRun(config, run_dir)
    assert run.train_in_forks(f"logger.save_config_filepath={run_dir}/resolved.yaml", ACME_TOKEN=SECRET) == 0, run.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_TOKEN", SECRET)
        yield run


def test_it_trains_with_falling_loss_and_records_its_end(whole: BridgeRun) -> None:
    losses = whole.losses()
    assert sorted(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1]
    record = json.loads((whole.run_dir / "finished.json").read_text())
    assert (record["step"], record["max_steps"], record["hf"]) == (STEPS, STEPS, None)
    assert record["checkpoint"] == str(whole.run_dir / f"checkpoints/iter_{STEPS:07d}")
    assert f"finished: step {STEPS} of {STEPS}; checkpoint {record['checkpoint']}" in whole.text
    assert " validation loss at iteration 15 " in whole.text
    assert (whole.run_dir / "index").is_dir()
    assert (whole.run_dir / "checkpoints/hf_config/config.json").is_file()


def test_no_secret_is_left_in_checkpoints_or_the_log(whole: BridgeRun) -> None:
    """Megatron-Bridge saves its resolved configuration with each, and prints a summary of it."""
    written = [*whole.run_dir.glob("checkpoints/iter_*/run_config.yaml"), whole.run_dir / "resolved.yaml"]
    assert len(written) >= 4
    for file in written:
        told = yaml.safe_load(file.read_text())["logger"]
        assert told["wandb_entity"] == "${oc.env:ACME_TOKEN}"
        assert told["_target_"].startswith("megatron.bridge.")
    assert "wandb_entity: '${oc.env:ACME_TOKEN}'" in whole.text
    files = [whole.log, *(path for path in whole.run_dir.rglob("*") if path.is_file())]
    assert [str(file) for file in files if SECRET.encode() in file.read_bytes()] == []


@pytest.mark.slow
def test_an_interrupted_run_has_the_losses_of_an_undisturbed_one(
    whole: BridgeRun, data_dir: Path, tmp_path: Path
) -> None:
    """SIGTERM saves at once; SIGKILL between two saves loses the steps since; a damaged newest is passed over."""
    run = BridgeRun(write_config(tmp_path / "run", data_dir), tmp_path / "run")
    assert run.interrupt(4, signal.SIGTERM) == 0
    assert "stopped by signal at step" in run.text
    assert not (run.run_dir / "finished.json").exists()
    assert run.interrupt(18, signal.SIGKILL) != 0
    checkpoints = run.run_dir / "checkpoints"
    newest = max(path for path in checkpoints.glob("iter_*") if (path / "run_config.yaml").exists())
    shutil.copytree(newest, checkpoints / "iter_0000029")
    (checkpoints / "iter_0000029" / "__0_0.distcp").write_bytes(b"")
    (checkpoints / "latest_train_state.pt").write_bytes(b"cut")
    assert run.train() == 0, run.text
    assert f"checkpoint {newest.name} is complete: resuming from it" in run.text
    assert "iter_0000029 passed over, kept as damaged-iter_0000029" in run.text
    expected, found = whole.losses(), run.losses()
    assert sorted(found) == sorted(expected)
    assert max(abs(found[step] - expected[step]) for step in expected) <= TOLERANCE
    assert run.train() == 0
    assert "nothing left to do" in run.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensor", "pipeline"])
def test_a_model_on_two_ranks(data_dir: Path, tmp_path: Path, kind: str) -> None:
    """Of a pipeline the last rank alone has the loss."""
    changes = {"model": {f"{kind}_model_parallel_size": 2}, "train": {"train_iters": 4}}
    run = BridgeRun(write_config(tmp_path / "run", data_dir, changes), tmp_path / "run")
    assert run.train() == 0, run.text
    losses = run.losses()
    assert sorted(losses) == [1, 2, 3, 4]
    assert losses[4] < losses[1]


@pytest.mark.slow
def test_an_export_has_the_logits_of_the_checkpoint_and_comes_back(whole: BridgeRun, tmp_path: Path) -> None:
    checkpoints, exported, back = whole.run_dir / "checkpoints", tmp_path / "hf", tmp_path / "megatron"
    done = run_script("convert.py", "direction=megatron-to-hf", f"source={checkpoints}", f"output={exported}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in exported.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert _difference(checkpoints / f"iter_{STEPS:07d}", exported) <= LOGITS
    done = run_script("convert.py", "direction=hf-to-megatron", f"source={exported}", f"output={back}")
    assert done.returncode == 0, done.stderr
    assert _difference(back / "iter_0000000", exported) <= LOGITS
    again = run_script("convert.py", "direction=hf-to-megatron", f"source={exported}", f"output={back}")
    assert (again.returncode, again.stdout) == (0, f"nothing left to do: {back} is complete\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "megatron"]


def _difference(checkpoint: Path, exported: Path) -> float:
    done = run_script("logits.py", str(checkpoint), str(exported))
    assert done.returncode == 0, done.stderr
    difference, largest, shape = json.loads(done.stdout.splitlines()[-1])
    assert largest > 0.01
    assert shape[:2] == [2, 24]
    return float(difference)


def test_what_it_refuses(whole: BridgeRun) -> None:
    """Every fault that Megatron-Bridge itself would pass over, in one process; what comes close is taken."""
    command = [str(SCRIPTS / "refusals.py"), str(whole.config), *ACCEPTED, *REFUSED]
    code, said = in_forks(command, ACME_TOKEN=SECRET)
    assert code == 0, said
    told = json.loads(said.splitlines()[-1])
    assert {setting: message for setting, message in told.items() if message is None} == dict.fromkeys(ACCEPTED)
    for setting, part in REFUSED.items():
        assert part in told[setting], (setting, told[setting])


def test_the_patches_are_still_needed() -> None:
    """A release that has one of these right makes its patch superfluous."""
    code, said = in_forks([str(SCRIPTS / "still_needed.py")])
    assert code == 0, said
    told = json.loads(said.splitlines()[-1])
    assert told == dict.fromkeys(told, True)
    assert len(told) == 7


ACCEPTED = [
    "optimizer.lr=3e-4",
    "model.params_dtype=bf16",
    "model.params_dtype=torch.float32",
    "checkpoint.most_recent_k=null",
    "ft.enable_ft_package=true",
    "model.seq_length=64",
    "model.activation_func=torch.nn.functional.gelu",
    "recipe=megatron.bridge.recipes.qwen.qwen3.qwen3_8b_pretrain_config",
]
REFUSED = {
    "train.train_iterz=3": "did you mean train.train_iters?",
    "trian.train_iters=3": "did you mean train?",
    "train.train_iters=1.5": "expected an integer",
    "train.exit_signal_handler='yes'": "expected true or false",
    "checkpoint.ckpt_format=torchdist": "did you mean torch_dist?",
    "tokenizer.tokenizer_type=HuggingFace": "did you mean HuggingFaceTokenizer?",
    "model.params_dtype=bf17": "expected dtype",
    "optimizer.lr=fast": "expected a number",
    "ft.enable_ft=true": "did you mean ft.enable_ft_package?",
    "model.sequence_parallel=true": "it needs a GPU",
    "mixed_precision=bf16_mixed": "it needs a GPU",
    "recipe=qwen3_8b_pretrian_config": "did you mean qwen3_8b_pretrain_config",
    "recipe=llama32_1b_pretrain_config": "HF_HUB_OFFLINE",
    "recipe.per_split_data_args_path=/nowhere/blend.json": "/nowhere/blend.json cannot be read",
    "recipe.lr=3": "takes no 'lr'",
    "step_func=gpt_stepp": "did you mean gpt_step?",
    "mode=train": "did you mean pretrain?",
    "mode=finetune": "checkpoint.pretrained_checkpoint is not set",
    "checkpoint={save: /nowhere/c, pretrained_checkpoint: /nowhere/w}": "it would train random weights",
    "dataset.seq_length=64": "they have to be the same",
}
