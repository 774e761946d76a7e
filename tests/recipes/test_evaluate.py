"""`evaluate RUN`: what is planned for checkpoints; that it is right on real ones, test_checkpoints_command.py sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import contract
from tests.conftest import LIMIT_S, ROOT
from tests.recipes.pretrain_fixtures import SMALL, Run, write_config
from tests.recipes.test_checkpoints_command import NAMES, Bench, bench
from tests.slurm.cluster import wait_until

__all__ = ["bench"]  # the fixture


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Run:
    """What stands in for the trained run of conftest.py: its config, and checkpoints of one tensor."""
    directory = tmp_path_factory.mktemp("whole")
    write_config("tiny", directory, data_dir, SMALL)
    for name in NAMES.values():
        _save(directory / "checkpoints" / name)
    for name in ("training.jsonl", "validation.jsonl"):
        (directory / "checkpoints" / name).write_text('{"step": 11, "loss": 1.0, "val_loss": 1.0}\n')
    return Run(0, "", directory)


def _save(checkpoint: Path) -> None:
    """A complete one, as AutoModel lays it out."""
    import torch
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file

    (checkpoint / "model").mkdir(parents=True)
    save_file({"w": torch.zeros(2)}, checkpoint / "model" / "shard-00001-model-00001-of-00001.safetensors")
    dcp.save({"optim.state.w.exp_avg": torch.zeros(2)}, checkpoint_id=checkpoint / "optim", no_dist=True)
    torch.save({"step": int(checkpoint.name.rpartition("_")[2]) + 1}, checkpoint / "step_scheduler.pt")
    for name in ("losses.json", "config.yaml"):
        (checkpoint / name).write_text("{}")


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


def test_it_takes_a_node_and_no_spares_unless_it_is_told_otherwise(evaluated: Bench) -> None:
    """A training's profile has more of both; its global batch of 8 does not divide by 3 x 2 ranks x 2."""
    lines = '[far]\nexecutor = "slurm"\nnodes = 3\nspares = 1\ngpus_per_node = 2\ncontainer_image = "none"\n'
    env = evaluated.root / "env.toml"
    env.write_text(env.read_text() + lines)
    words = ("evaluate", "whole:9", "--dry-run", "--no-rehearse", "--offline", "--run", "far")
    _, out, err = evaluated(*words)
    assert "1 node x 2 processes = 2 ranks (run.env.nodes=N takes more" in out and "batch-math" not in out + err
    assert "spare" not in out
    _, out, _ = evaluated(*words, "run.env.nodes=3", "run.env.spares=2")
    assert "3 nodes x 2 processes" in out and "takes more" not in out and "2 spare nodes" in out and "batch-math" in out


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


def test_all_of_them_are_planned_one_after_the_other(evaluated: Bench) -> None:
    words = ("evaluate", "whole:all", "--no-rehearse", "--batch", "local")
    runs = [evaluated.json("evaluate", f"whole:{step}", "--dry-run", "--no-rehearse")["job_dir"] for step in (4, 9, 11)]
    names = [Path(job).name.rpartition(".")[0] for job in runs]
    _, out, err = evaluated(*words, "--dry-run")
    assert [line.partition(":")[0] for line in out.splitlines() if line.startswith("evaluate-whole-")] == [
        f"{name}.1" for name in names
    ]
    assert [line for line in err.splitlines() if line.startswith("whole, step")] == [
        f"whole, step {step}:" for step in (4, 9, 11)
    ]


def test_a_damaged_checkpoint_is_not_evaluated(evaluated: Bench) -> None:
    next((evaluated.checkpoint(4) / "model").glob("*.safetensors")).unlink()
    words = ("--dry-run", "--no-rehearse")
    code, out, err = evaluated("evaluate", "whole:4", *words)
    assert (code, out) == (2, "") and f"checkpoint {NAMES[4]} is damaged: " in err and "of step 9, 11" in err
    code, out, err = evaluated("evaluate", "whole:all", *words)
    assert code == 2 and f"{NAMES[4]} is damaged: " in err and "whole, step 4" not in err
    assert sum(line.startswith("evaluate-whole-") for line in out.splitlines()) == 2


def test_an_evaluation_takes_no_step_and_wants_held_out_data(evaluated: Bench, tmp_path: Path) -> None:
    words = ("evaluate", "whole:9", "--dry-run", "--no-rehearse")
    _, out, _ = evaluated(*words)
    assert "no step is taken" in out and "epochs" not in out and "[tokens]" not in out
    code, out, _ = evaluated(*words, "~validation_dataset")
    assert code == 3 and "[no-data]" in out
    code, out, _ = evaluated(*words, "validation_dataset.num_val_samples=1")
    assert code == 3 and "[no-validation-batch]" in out
    (tmp_path / "config.yaml").write_text("model: {}\n")
    command = [sys.executable, str(ROOT / "recipes" / "evaluate.py"), "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == contract.CANNOT_BE_USED and "nothing to evaluate on" in done.stderr


def test_a_checkpoint_that_the_training_may_remove_is_told(evaluated: Bench) -> None:
    """Where it keeps only so many, the last one too; an export, which has no shards, is no way out."""
    words = ("evaluate", "whole:11", "--dry-run", "--no-rehearse")
    (evaluated.run_dir / contract.FINISHED).unlink()

    def told() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = evaluated.json(*words)["findings"]
        return [one for one in found if one["code"] == "origin-may-go"]

    assert told() == []
    path = Path(evaluated.record.job_dir, contract.CONFIG)
    config = yaml.safe_load(path.read_text())
    config["checkpoint"]["max_recent_checkpoints"] = 2
    path.write_text(yaml.safe_dump(config))
    (finding,) = told()
    assert "checkpoint.max_recent_checkpoints = 2" in finding["message"] and NAMES[11] in finding["message"]
    assert "a greater checkpoint.max_recent_checkpoints" in finding["fix"] and "export" not in finding["fix"]
    (evaluated.run_dir / contract.FINISHED).write_text("{}")
    assert told() == []


def test_held_out_data_that_are_read_again_are_told(evaluated: Bench) -> None:
    words = ("evaluate", "whole:9", "--dry-run", "--no-rehearse", "--full")
    assert "held-out-repeats" not in evaluated(*words, "validation_dataset.num_val_samples=2")[1]
    _, out, _ = evaluated(*words, "validation_dataset.num_val_samples=100000")
    said = " ".join(out.split())
    assert "[held-out-repeats] validation_dataset.num_val_samples = 100000" in said and "it is read " in said
    once = re.search(r"validation_dataset.num_val_samples=(\d+) to read it once", said)
    assert once and "held-out-repeats" not in evaluated(*words, f"validation_dataset.num_val_samples={once[1]}")[1]


def test_a_pipe_where_a_file_is_expected_is_not_waited_for(evaluated: Bench) -> None:
    """Beside the checkpoints, in them, and in the run's directory."""
    run, folder = evaluated.run_dir, evaluated.run_dir / "checkpoints"
    beside = [folder / contract.EVALUATIONS / f"{NAMES[4]}{end}" for end in (".json", contract.EVALUATION_JOB)]
    inside = [evaluated.checkpoint(9) / name for name in ("losses.json", "model/more.safetensors", "more.pt")]
    shards = evaluated.checkpoint(11) / "model" / "consolidated"
    others = [shards / "config.json", shards / "model.safetensors", run / contract.READERS / "x.json"]
    for path in (*beside, *inside, *others, run / contract.FINISHED, folder / "latest_train_state.pt"):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    def answer(**request: Any) -> dict[str, Any]:
        asked = json.dumps({"folder": str(folder), "run_dir": str(run), **request})
        command = [sys.executable, str(ROOT / "recipes" / "checkpoints.py")]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=LIMIT_S)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    rows = answer(do="list")["checkpoints"]
    assert [(row["step"], row["evaluations"], row["evaluation_job"]) for row in rows] == [
        (step, [], None) for step in (4, 9, 11)
    ]
    faults = answer(do="verify", names=list(NAMES.values()))["faults"]
    assert faults[NAMES[4]] == [] and "losses.json is missing" in faults[NAMES[9]]
    assert "model/consolidated: model.safetensors: no regular file" in faults[NAMES[11]]


def test_a_run_without_held_out_data(evaluated: Bench) -> None:
    path = Path(evaluated.record.job_dir, contract.CONFIG)
    config = yaml.safe_load(path.read_text())
    del config["validation_dataset"]
    path.write_text(yaml.safe_dump(config))
    code, _, err = evaluated("evaluate", "whole")
    assert code == 2 and "validation_dataset" in err and "evaluate -c FILE" in err


def test_a_checkpoint_whose_validation_read_no_token_is_not_the_best(evaluated: Bench) -> None:
    """AutoModel tells 0.0 of it, in the checkpoint too: the lowest of all."""
    logged: list[tuple[int, float | None, int]] = [(4, 3.0, 9), (11, 2.0, 9), (9, None, 0)]
    rows = [{"step": step, "val_loss": loss, "num_label_tokens": tokens} for step, loss, tokens in logged]
    path = Path(evaluated.record.job_dir, contract.METRICS)
    path.write_text("".join(json.dumps({"time": float(row["step"] or 0), **row}) + "\n" for row in rows))
    for number, name in enumerate(NAMES.values()):
        losses = {"train_loss": 1.0, "val_loss": 0.0 if name == NAMES[9] else 5.0 + number}
        (evaluated.run_dir / "checkpoints" / name / "losses.json").write_text(json.dumps(losses))
    told = evaluated.json("checkpoints", "whole")
    assert [row["val_loss"] for row in told["checkpoints"]] == [3.0, None, 2.0]
    assert told["best"] == NAMES[11]
    path.unlink()
    assert [row["val_loss"] for row in evaluated.json("checkpoints", "whole")["checkpoints"]] == [5.0, None, 7.0]


def test_a_job_of_on_checkpoint_that_left_no_result_is_told(evaluated: Bench) -> None:
    folder = evaluated.run_dir / "checkpoints" / contract.EVALUATIONS
    folder.mkdir()
    job = evaluated.root / "runs" / f"whole-{NAMES[9]}.1"
    job.mkdir()
    (job / contract.EXIT).write_text(json.dumps({"state": "FAILED", "error": "CUDA out of memory"}))
    told = {"job_dir": str(job), "slurm_id": "81", "error": None}
    refused = {"job_dir": "/x", "slurm_id": None, "error": "sbatch: Invalid account"}
    for step, value in ((4, refused), (9, told), (11, {**told, "slurm_id": "82", "job_dir": "/waits"})):
        (folder / f"{NAMES[step]}{contract.EVALUATION_JOB}").write_text(json.dumps(value))
    said = evaluated("checkpoints", "whole")[2].splitlines()
    assert [line for line in said if "evaluat" in line] == [
        "evaluation of step 4: NOT SUBMITTED: sbatch: Invalid account",
        "hint: python launch.py evaluate whole:4",
        f"evaluation of step 9: FAILED as Slurm job 81, in {job}: CUDA out of memory",
        "hint: python launch.py evaluate whole:9",
        "evaluation of step 11: PENDING as Slurm job 82, in /waits",
    ]
    (folder / f"{NAMES[9]}.json").write_text('{"results": [{"name": "default", "data": "x", "loss": 1.5}]}')
    said = evaluated("checkpoints", "whole")[2].splitlines()
    assert not [line for line in said if "step 9" in line or line.endswith("whole:9")]


_RECORDS = """\
import sys
from pathlib import Path
from pretrain_lib import evaluation
checkpoint, own = Path(sys.argv[1]), sys.argv[2]
Path(sys.argv[3]).touch()
sys.stdin.read()  # all begin at once
for number in range(int(sys.argv[4])):
    evaluation.record([{"name": own, "data": str(number), "loss": 1.0}], checkpoint, 9)
"""

_NO_LOCKS = """\
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


@pytest.mark.parametrize(("before", "count"), [("", 10), (_NO_LOCKS, 2)])
def test_evaluations_that_end_at_once_lose_no_result(tmp_path: Path, before: str, count: int) -> None:
    """Of one checkpoint, in several jobs: each keeps what the others have written; nobody waits for a stopped one."""
    checkpoint = tmp_path / "epoch_0_step_9"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "recipes"), contract.RUN_DIR_VAR: ""}
    started = [tmp_path / f"started-{own}" for own in range(4)]
    made = [
        subprocess.Popen(
            [sys.executable, "-c", before + _RECORDS, str(checkpoint), str(own), str(path), str(count)],
            env=environ,
            stdin=subprocess.PIPE,
        )
        for own, path in enumerate(started)
    ]
    wait_until(lambda: all(path.exists() for path in started), LIMIT_S, "all of them to begin")
    for one in made:
        assert one.stdin is not None
        one.stdin.close()
    assert [one.wait(LIMIT_S) for one in made] == [0] * 4
    told = json.loads((tmp_path / contract.EVALUATIONS / "epoch_0_step_9.json").read_text())
    assert {(one["name"], one["data"]) for one in told["results"]} == {
        (str(own), str(number)) for own in range(4) for number in range(count)
    }
    assert sorted(path.name for path in (tmp_path / contract.EVALUATIONS).iterdir()) == [".lock", "epoch_0_step_9.json"]


def test_what_several_held_out_sections_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that AutoModel itself gives them."""
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    from nemo_automodel.components.config.loader import ConfigNode
    from nemo_automodel.recipes._typed_config import RecipeConfig
    from pretrain_lib import evaluation

    keys = ("validation_dataset", "validation_dataset_web", "validation_dataset-code", "validation_datasetbooks")
    raw = {key: {"paths": key} for key in keys}
    monkeypatch.setattr(RecipeConfig, "_resolve_dataloader", lambda self, node, loader: node.get("paths"))
    theirs = RecipeConfig(ConfigNode(raw)).validation_dataloaders
    assert {name: evaluation._what(raw, name) for name in theirs} == theirs
    assert set(theirs) == {"default", "web", "code", "books"}


_UNREADABLE = """\
import errno, os
real = os.open
def broken(path, flags, *more, **options):
    if str(path).endswith("step_9.json") and not flags & os.O_CREAT:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)
    return real(path, flags, *more, **options)
os.open = broken
"""


def test_results_that_cannot_be_read_now_are_not_written_over(tmp_path: Path) -> None:
    checkpoint, started = tmp_path / "epoch_0_step_9", tmp_path / "started"
    path = tmp_path / contract.EVALUATIONS / "epoch_0_step_9.json"
    path.parent.mkdir()
    path.write_text('{"results": [{"name": "other", "data": "x", "loss": 1.0}]}')
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "recipes"), contract.RUN_DIR_VAR: ""}
    argv = [sys.executable, "-c", _UNREADABLE + _RECORDS, str(checkpoint), "own", str(started), "1"]
    done = subprocess.run(argv, env=environ, input="", capture_output=True, text=True, check=True)
    assert path.read_text() == '{"results": [{"name": "other", "data": "x", "loss": 1.0}]}'
    assert "cannot be written (Input/output error)" in done.stdout
