"""pretrain.py without training: its metadata, the recipe class, refusals, and what it says and leaves at the end."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).parents[2] / "recipes"
sys.path.insert(0, str(RECIPES))

import pretrain  # noqa: E402
from pretrain_lib import finished  # noqa: E402
from pretrain_lib.adaptations import put_ninja_on_path  # noqa: E402
from pretrain_lib.config import ConfigError, load_config  # noqa: E402
from pretrain_lib.recipe_class import resolve_recipe  # noqa: E402

from tests.conftest import LIMIT_S  # noqa: E402

TRAIN_FT = "nemo_automodel.recipes.llm.train_ft"
FINETUNE = "TrainFinetuneRecipeForNextTokenPrediction"

OWN_RECIPE = """
class Own:
    def setup(self): ...
    def run_train_validation_loop(self): ...

class NotARecipe: ...
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own, own_recipe, on the import path."""
    (tmp_path / "own_recipe.py").write_text(OWN_RECIPE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_recipe", raising=False)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's directory, named to the recipe as the launcher names it."""
    directory = tmp_path / "run"
    monkeypatch.setenv("LAUNCH_RUN_DIR", str(directory))
    return directory


def qualified(recipe_class: type) -> str:
    return f"{recipe_class.__module__}.{recipe_class.__qualname__}"


def command(config: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as a process of its own."""
    return subprocess.run(
        [sys.executable, str(RECIPES / "pretrain.py"), "--config", str(config)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, env={**os.environ, **environment},
    )  # fmt: skip


# The recipe class


def test_without_a_name_the_default_target_is_taken() -> None:
    assert qualified(resolve_recipe({})) == f"{TRAIN_FT}.{FINETUNE}"


@pytest.mark.parametrize(
    "recipe", [FINETUNE, f"{TRAIN_FT}.{FINETUNE}", f"{TRAIN_FT}:{FINETUNE}", {"_target_": f"{TRAIN_FT}.{FINETUNE}"}]
)
def test_recipe_takes_every_form_that_automodel_takes(recipe: Any) -> None:
    assert qualified(resolve_recipe({"recipe": recipe})) == f"{TRAIN_FT}.{FINETUNE}"


@pytest.mark.parametrize("prefix", ["", f"{TRAIN_FT}.", f"{TRAIN_FT}:"])
def test_the_name_of_older_guides_is_an_alias_and_the_log_says_so(
    prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    old = prefix + "TrainPretrainRecipeForNextTokenPrediction"
    assert qualified(resolve_recipe({"recipe": old})) == f"{TRAIN_FT}.{FINETUNE}"
    assert f"is called {FINETUNE}" in capsys.readouterr().out


def test_step_recipe_comes_before_recipe(own_module: None) -> None:
    chosen = resolve_recipe({"_step_recipe": "own_recipe:Own", "recipe": FINETUNE})
    assert qualified(chosen) == "own_recipe.Own"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"_step_recipe": "own_recipe"}, 'not of the form "module:Class"'),
        ({"_step_recipe": "nowhere:Class"}, "cannot import nowhere"),
        ({"_step_recipe": "own_recipe:Missing"}, "module own_recipe has no class Missing"),
        ({"_step_recipe": "own_recipe:NotARecipe"}, "no method setup()"),
        ({"_step_recipe": 7}, "must name a recipe class, not 7"),
        ({"recipe": "NoSuchRecipe"}, "Unknown recipe class 'NoSuchRecipe'"),
        ({"recipe": "nowhere.Class"}, "cannot import nowhere"),
        ({"recipe": {"_target_": f"{TRAIN_FT}.Missing"}}, "recipe._target_: "),
        ({"recipe": {}}, "recipe._target_ must name a recipe class"),
    ],
)
def test_a_class_that_cannot_be_found_is_refused_in_one_line(own_module: None, raw: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve_recipe(raw)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


# The command line


def test_an_unknown_class_ends_with_exit_2_and_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("_step_recipe: nowhere:Class\n")
    ended = command(config)
    assert ended.returncode == 2
    assert ended.stderr == "pretrain: _step_recipe: cannot import nowhere: No module named 'nowhere'\n"


@pytest.mark.parametrize(("content", "said"), [("a: [", "cannot read the config"), ("- a\n", "not a YAML mapping")])
def test_a_config_that_is_not_a_mapping_ends_with_exit_2(
    tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content)
    assert pretrain.main(["--config", str(config)]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_config_ends_with_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"dataset": {"paths": "${oc.env:NO_SUCH_VARIABLE}"}}, "'NO_SUCH_VARIABLE' is not set"),
        ({"model": {"_target_": "nemo_automodel.nothing.here"}}, "nemo_automodel.nothing.here"),
    ],
)
def test_what_automodels_loader_refuses_ends_with_exit_2(
    tmp_path: Path, config: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert pretrain.main(["--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_loader_fills_in_variables_of_the_job_and_sees_none_of_our_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump({"_step_recipe": "a:B", "seed": 1, "data": "${oc.env:SHARDS}", "n": "${oc.env:NONE,7}"})
    )
    monkeypatch.setenv("SHARDS", "/data")
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--seed", "2", "--other=3"])
    loaded = load_config(str(path)).to_dict()
    assert loaded == {"_step_recipe": "a:B", "seed": 1, "data": "/data", "n": 7}


def test_ninja_beside_this_python_is_put_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ninja = tmp_path / "ninja"
    ninja.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    put_ninja_on_path()
    assert os.environ["PATH"] == f"{tmp_path}{os.pathsep}/nowhere"


# The end


def recipe_at(step: int, *, signalled: bool, max_steps: int = 10) -> SimpleNamespace:
    """What `report` looks at of a recipe whose loop has returned."""
    return SimpleNamespace(
        step_scheduler=SimpleNamespace(step=step, max_steps=max_steps, sigterm_flag=signalled), checkpointer=None
    )


@pytest.mark.parametrize(("step", "signalled"), [(10, False), (10, True), (6, False)])
def test_the_last_step_or_the_last_epoch_is_the_end(
    run_dir: Path, step: int, signalled: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.report(recipe_at(step, signalled=signalled), 0)
    record = json.loads((run_dir / "finished.json").read_text())
    assert set(record) == {"step", "max_steps", "checkpoint", "hf", "time"}
    assert (record["step"], record["max_steps"], record["checkpoint"], record["hf"]) == (step, 10, None, None)
    assert f"finished: step {step} of 10; no checkpoint\n" == capsys.readouterr().out
    assert [path.name for path in run_dir.iterdir()] == ["finished.json"]


@pytest.mark.parametrize("reserve", [True, False])
def test_a_full_disk_makes_no_failure_of_a_run_that_has_reached_its_end(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reserve: bool
) -> None:
    """The room that the job keeps for its records is for this one, too."""
    kept, sync = tmp_path / ".reserve", os.fsync
    kept.touch()

    def full(descriptor: int) -> None:
        if kept.exists() or not reserve:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setenv("LAUNCH_JOB_DIR", str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    finished.report(recipe_at(10, signalled=False), 0)
    said = capsys.readouterr().out
    assert said.endswith("finished: step 10 of 10; no checkpoint\n")
    assert ("finished.json cannot be written (No space left on device)" in said) != reserve
    assert [path.name for path in run_dir.iterdir()] == (["finished.json"] if reserve else [])


def test_a_run_that_a_signal_ended_is_not_finished(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished.report(recipe_at(6, signalled=True), 0)
    assert capsys.readouterr().out == "stopped by signal at step 6; no checkpoint\n"
    assert not run_dir.exists()


def test_a_run_that_took_no_step_has_failed(run_dir: Path) -> None:
    """AutoModel's loop returns as after the last step where the data give no batch."""
    with pytest.raises(ConfigError, match="no step was taken"):
        finished.report(recipe_at(0, signalled=False), 0)
    assert not run_dir.exists()


def test_only_rank_0_speaks_and_writes(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    finished.report(recipe_at(10, signalled=False), 0)
    assert capsys.readouterr().out == ""
    assert not run_dir.exists()


def test_without_a_run_directory_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LAUNCH_RUN_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    finished.report(recipe_at(10, signalled=False), 0)
    assert "finished: step 10 of 10" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_class_without_a_step_scheduler_is_not_called_finished(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.report(SimpleNamespace(), None)
    assert "not known" in capsys.readouterr().out
    assert not run_dir.exists()


def test_hf_is_named_only_where_config_and_weights_are_there(tmp_path: Path) -> None:
    consolidated = tmp_path / "model" / "consolidated"
    assert finished.hf_directory(None) is None
    assert finished.hf_directory(str(tmp_path)) is None
    consolidated.mkdir(parents=True)
    (consolidated / "config.json").touch()
    assert finished.hf_directory(str(tmp_path)) is None
    (consolidated / "model-00001-of-00001.safetensors").touch()
    assert finished.hf_directory(str(tmp_path)) == str(consolidated)


@pytest.mark.parametrize(
    ("max_steps", "checkpoint_is_there", "expected"),
    [(10, True, True), (8, True, True), (20, True, False), (None, True, False), (10, False, False)],
)
def test_a_finished_run_is_recognised_before_anything_is_imported(
    run_dir: Path, tmp_path: Path, max_steps: int | None, checkpoint_is_there: bool, expected: bool
) -> None:
    checkpoint = tmp_path / "epoch_0_step_9"
    if checkpoint_is_there:
        checkpoint.mkdir()
    finished.write_finished(10, 10, str(checkpoint))
    assert finished.already_finished({"step_scheduler": {"max_steps": max_steps}}) is expected


def test_a_run_without_a_record_is_not_finished(run_dir: Path) -> None:
    assert not finished.already_finished({"step_scheduler": {"max_steps": 10}})


@pytest.mark.parametrize("text", ["", '{"step": 10', "[]", '{"step": 10}', '{"step": "x", "checkpoint": null}', "\xff"])
def test_a_damaged_record_of_the_end_stops_no_run(text: str, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir.mkdir()
    (run_dir / "finished.json").write_bytes(text.encode("latin-1"))
    assert not finished.already_finished({"step_scheduler": {"max_steps": 10}})
    assert f"{run_dir}/finished.json is damaged: " in capsys.readouterr().out
