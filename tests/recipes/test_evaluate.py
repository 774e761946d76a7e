"""`evaluate RUN`: checkpoints of a real run of two ranks on held-out data, in jobs of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import contract
from tests.recipes.pretrain_fixtures import Run
from tests.recipes.test_checkpoints_command import Bench, bench

pytestmark = pytest.mark.train

__all__ = ["bench"]  # the fixture


@pytest.fixture
def evaluated(bench: Bench, whole: Run) -> Bench:
    """The run with the config that its job had."""
    config = yaml.safe_load((whole.directory / "config.yaml").read_text())
    config["wandb"] = {"project": "x"}
    Path(bench.record.job_dir, contract.CONFIG).write_text(yaml.safe_dump(config))
    return bench


def _config(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = told["config"]
    return found


def test_its_config_is_the_runs_own_without_what_is_training(evaluated: Bench, whole: Run) -> None:
    told = evaluated.json("evaluate", "whole:9", "--dry-run", "--no-rehearse")
    assert not [finding for finding in told["findings"] if finding["level"] == "error"], told["findings"]
    config, own = _config(told), yaml.safe_load((whole.directory / "config.yaml").read_text())
    run = told["job_dir"].rpartition(".")[0]
    assert "/evaluate-whole-" in run
    assert config["checkpoint"]["restore_from"] == str(evaluated.checkpoint(9))
    assert config["checkpoint"]["checkpoint_dir"] == f"{run}/checkpoints"
    assert config["dataset"]["paths"] == own["validation_dataset"]["paths"]
    assert config["dataset"]["splits_to_build"] == "validation"
    assert config["dataset"]["tokenizer"] == own["dataset"]["tokenizer"]
    assert not {"wandb", "lr_scheduler"} & {*config}
    assert config["model"] == own["model"]
    assert str(evaluated.run_dir) not in json.dumps({**config, "checkpoint": {}})  # nothing of the run's is written


def test_another_step_and_other_data_are_another_evaluation(evaluated: Bench) -> None:
    words = ("--dry-run", "--no-rehearse")
    plans = [
        evaluated.json("evaluate", "whole:9", *words),
        evaluated.json("evaluate", "whole:4", *words),
        evaluated.json("evaluate", "whole:9", "validation_dataset.num_val_samples=4", *words),
        evaluated.json("evaluate", "whole:9", *words),
    ]
    dirs = [plan["job_dir"] for plan in plans]
    assert len(set(dirs)) == 3 and dirs[0] == dirs[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "nothing"),
        (("whole:",), "RUN:all"),
        (("whole:5",), "its complete ones are of step 4, 9, 11"),
        (("whole", "-c", "default"), "-c names another"),
        (("whole:all", "--json"), "--json takes one checkpoint"),
        (("whole:all", "--name", "x"), "--name takes one checkpoint"),
    ],
)
def test_what_is_refused(evaluated: Bench, words: tuple[str, ...], said: str) -> None:
    code, _, err = evaluated("evaluate", *words, "--dry-run")
    assert code in (1, 2) and said in err


def test_a_run_without_held_out_data(evaluated: Bench) -> None:
    path = Path(evaluated.record.job_dir, contract.CONFIG)
    config = yaml.safe_load(path.read_text())
    del config["validation_dataset"]
    path.write_text(yaml.safe_dump(config))
    code, _, err = evaluated("evaluate", "whole")
    assert code == 2 and "validation_dataset" in err and "evaluate -c FILE" in err


def test_its_loss_is_that_of_the_validation_and_it_is_done_once(evaluated: Bench, whole: Run) -> None:
    before = {path: path.read_bytes() for path in evaluated.run_dir.rglob("*") if path.is_file()}
    code, out, err = evaluated("evaluate", "whole:9", "run.env.nproc_per_node=1", "--no-rehearse")
    assert code == 0, out + err
    wanted = {record["step"]: record["val_loss"] for record in whole.records("validation.jsonl")}
    rows = {row["step"]: row for row in evaluated.json("checkpoints", "whole")["checkpoints"]}
    (told,) = rows[9]["evaluations"]
    assert (told["name"], told["loss"]) == ("default", pytest.approx(wanted[9], rel=1e-5))
    assert told["tokens"] == 8 * 32 and "blend.json validation" in told["data"]
    assert rows[4]["evaluations"] == [] and f"{told['loss']:.4f}" in evaluated("checkpoints", "whole")[1]
    after = {path: path.read_bytes() for path in evaluated.run_dir.rglob("*") if path.is_file()}
    new = {path.relative_to(evaluated.run_dir).parts[0] for path in after.keys() - before.keys()}
    assert all(after[path] == content for path, content in before.items()) and new == {"checkpoints", "readers"}
    again = evaluated("evaluate", "whole:9", "run.env.nproc_per_node=1", "--no-rehearse")
    assert again[0] == 0 and "finished" in again[1] + again[2]
    other = {"name": "default", "data": "/other/blend.json test", "loss": 2.5, "perplexity": 12.2, "tokens": 1}
    file = evaluated.run_dir / "checkpoints" / contract.EVALUATIONS / "epoch_0_step_9.json"
    file.write_text(json.dumps({"results": [told, other, {"loss": None}, 5]}))
    code, out, err = evaluated("checkpoints", "whole")
    assert "held-out  held-out 2" in out and "held-out 2: /other/blend.json test" in err
