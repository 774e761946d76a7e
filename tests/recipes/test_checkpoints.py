"""A real run's checkpoints, damaged in the ways of disks and killed copies: each is passed over, and named."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.recipes.pretrain_fixtures import ROOT, SMALL, Run, start, write_config

sys.path.insert(0, str(ROOT / "recipes"))

import pretrain
from checkpoint_lib import choice, faults, formats, resume
from pretrain_lib import loading

pytestmark = pytest.mark.train

NEWEST, BEFORE, OLDEST = "epoch_0_step_11", "epoch_0_step_9", "epoch_0_step_4"
SHARD_1, SHARD_2 = (f"model/shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2))


@pytest.fixture
def root(whole: Run, tmp_path: Path) -> Path:
    """A copy of the undisturbed run's checkpoints."""
    assert whole.code == 0, whole.output
    copied = tmp_path / "checkpoints"
    shutil.copytree(whole.checkpoints, copied, symlinks=True)
    return copied


def cut(path: Path, bytes_off: int = 100) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - bytes_off)


def truncate_shard(checkpoint: Path) -> None:
    cut(checkpoint / SHARD_2)


def lengthen_shard(checkpoint: Path) -> None:
    with (checkpoint / SHARD_1).open("ab") as file:
        file.write(b"\0")


def spoil_header(checkpoint: Path) -> None:
    path = checkpoint / SHARD_1
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"x" * 40 + data[48:])


def lose_last_shard(checkpoint: Path) -> None:
    (checkpoint / SHARD_2).unlink()


def lose_first_shard(checkpoint: Path) -> None:
    (checkpoint / SHARD_1).unlink()


def lose_weights(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "model")


def lose_optimizer_file(checkpoint: Path) -> None:
    (checkpoint / "optim" / "__1_0.distcp").unlink()


def truncate_optimizer_file(checkpoint: Path) -> None:
    cut(checkpoint / "optim" / "__0_0.distcp")


def truncate_optimizer_index(checkpoint: Path) -> None:
    cut(checkpoint / "optim" / ".metadata")


def empty_dataloader_state(checkpoint: Path) -> None:
    (checkpoint / "dataloader" / "dataloader_dp_rank_1.pt").write_bytes(b"")


def lose_dataloader_state(checkpoint: Path) -> None:
    (checkpoint / "dataloader" / "dataloader_dp_rank_0.pt").unlink()


def flip_random_state(checkpoint: Path) -> None:
    path = checkpoint / "rng" / "rng_global_rank_0.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def copy_half(checkpoint: Path) -> None:
    """What a copy in the alphabet's order leaves when it is cut off in model/."""
    for name in ("optim", "rng"):
        shutil.rmtree(checkpoint / name)
    (checkpoint / "step_scheduler.pt").unlink()
    (checkpoint / SHARD_2).unlink()


def mistake_step(checkpoint: Path) -> None:
    shutil.copy(checkpoint.parent / OLDEST / "step_scheduler.pt", checkpoint)


DAMAGES: dict[Callable[[Path], None], str] = {
    truncate_shard: f"{SHARD_2}: ",
    lengthen_shard: f"{SHARD_1}: ",
    spoil_header: f"{SHARD_1}: its safetensors header cannot be read",
    lose_last_shard: "tensors of the model a part is in no shard, such as ",
    lose_first_shard: "tensors of the model a part is in no shard, such as ",
    lose_weights: "there are no weights in it",
    lose_optimizer_file: "optim/__1_0.distcp is missing",
    truncate_optimizer_file: "optim/__0_0.distcp: ",
    truncate_optimizer_index: "optim/.metadata: ",
    empty_dataloader_state: "dataloader/dataloader_dp_rank_1.pt: empty",
    lose_dataloader_state: "dataloader/dataloader_dp_rank_0.pt is missing",
    flip_random_state: "rng/rng_global_rank_0.pt: a checksum is wrong",
    copy_half: "step_scheduler.pt is missing; optim/.metadata is missing",
    mistake_step: "step_scheduler.pt is of step 4, its directory of step 11",
}


def test_a_runs_own_checkpoints_are_complete(root: Path) -> None:
    assert {path.name: faults.find_faults(path) for path in root.glob("epoch_*")} == {
        NEWEST: [],
        BEFORE: [],
        OLDEST: [],
    }
    chosen, lines = choice.settle(root)
    assert chosen == root / NEWEST
    assert lines == [f"checkpoint {NEWEST} is complete: resuming from it"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_passed_over_named_and_kept(root: Path, damage: Callable[[Path], None]) -> None:
    from nemo_automodel.components.checkpoint.utils import find_latest_checkpoint, list_automodel_checkpoints

    damage(root / NEWEST)
    chosen, lines = choice.settle(root)
    assert chosen == root / BEFORE
    assert lines[0].startswith(f"checkpoint {NEWEST} passed over, kept as {NEWEST}.damaged: it is damaged: ")
    assert DAMAGES[damage] in lines[0]
    assert lines[1] == f"LATEST named {NEWEST}; it names {BEFORE} now"
    assert find_latest_checkpoint(root) == str(chosen), "AutoModel resumes from the same"
    assert [path.name for path in list_automodel_checkpoints(root)] == [OLDEST, BEFORE], "retention leaves it alone"
    assert (root / f"{NEWEST}.damaged").is_dir()


def test_an_interrupted_save_is_passed_over_and_left_to_automodel(root: Path) -> None:
    (root / NEWEST / ".incomplete").touch()
    chosen, lines = choice.settle(root)
    assert chosen == root / BEFORE
    assert lines[0] == f"checkpoint {NEWEST} passed over: its save was interrupted"
    assert (root / NEWEST).is_dir(), "it is replaced when its step is saved again"
    assert (root / "LATEST").readlink() == Path(BEFORE)


def test_a_dangling_latest_is_corrected(root: Path) -> None:
    (root / NEWEST).rename(root / "elsewhere")
    chosen, lines = choice.settle(root)
    assert chosen == root / BEFORE
    assert f"LATEST named {NEWEST}; it names {BEFORE} now" in lines
    assert (root / "LATEST").resolve() == chosen


def test_latest_beats_a_higher_number_which_is_told(root: Path) -> None:
    (root / "LATEST").unlink()
    (root / "LATEST").symlink_to(OLDEST)
    chosen, lines = choice.settle(root)
    assert chosen == root / OLDEST
    assert [line.split(" is complete and later")[0] for line in lines[:2]] == [
        f"checkpoint {NEWEST}",
        f"checkpoint {BEFORE}",
    ]


def test_a_text_file_stands_for_the_link_where_there_are_no_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nemo_automodel.components.checkpoint.utils import find_latest_checkpoint

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    (root / "LATEST").unlink()
    (root / "LATEST.txt").write_text(NEWEST)
    truncate_shard(root / NEWEST)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert choice.settle(root)[0] == root / BEFORE
    assert (root / "LATEST.txt").read_text() == BEFORE
    assert find_latest_checkpoint(root) == str(root / BEFORE)


def test_none_complete_changes_nothing_and_says_what_helps(root: Path) -> None:
    for name in (NEWEST, BEFORE, OLDEST):
        lose_optimizer_file(root / name)
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(choice.NoneComplete, match=r"no complete checkpoint in .*checkpoint\.restore_from"):
        choice.settle(root)
    assert sorted(path.name for path in root.iterdir()) == before


def test_a_second_damage_of_one_step_gets_a_name_of_its_own(root: Path) -> None:
    (root / f"{NEWEST}.damaged").mkdir()
    truncate_shard(root / NEWEST)
    choice.settle(root)
    assert (root / f"{NEWEST}.damaged-2").is_dir()


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert choice.settle(tmp_path / "absent") == (None, [])


def test_reading_a_pickle_runs_nothing_in_it(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(formats.Damaged, match="not the metadata"):
        formats.read_dcp_index(tmp_path / ".metadata")
    assert not (tmp_path / "ran").exists()


def test_a_safetensors_header_longer_than_its_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(formats.Damaged, match="10 bytes, and no safetensors header"):
        formats.read_safetensors(path)


@pytest.mark.parametrize("damaged", [False, True])
def test_retention_deletes_nothing_while_the_newest_is_damaged(
    root: Path, damaged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    from nemo_automodel.components.checkpoint.config import CheckpointingConfig
    from nemo_automodel.components.checkpoint.lifecycle import CheckpointLifecycle

    config = CheckpointingConfig(checkpoint_dir=str(root), max_recent_checkpoints=1, save_consolidated=False)
    lifecycle = CheckpointLifecycle(config)
    resume.hold_retention(lifecycle, root, print)
    if damaged:
        truncate_shard(root / NEWEST)
    lifecycle.publish(str(root / NEWEST), best_val_metric=None, metric_key=None)
    left = {path.name for path in root.glob("epoch_*")}
    assert left == ({NEWEST, BEFORE, OLDEST} if damaged else {NEWEST})
    assert (f"no old checkpoint is deleted: {NEWEST} is not complete: " in capsys.readouterr().out) == damaged


def test_a_validation_of_no_token_is_never_the_best(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nemo_automodel.components.checkpoint.config import CheckpointingConfig
    from nemo_automodel.components.checkpoint.lifecycle import CheckpointLifecycle

    config = CheckpointingConfig(checkpoint_dir=str(root), max_recent_checkpoints=1, save_consolidated=False)

    def published(hold: bool, name: str, loss: float) -> str:
        lifecycle = CheckpointLifecycle(config)  # as of a new job: what it knows is what the link names
        (root / name / "losses.json").write_text(json.dumps({"train_loss": 1.0, "val_loss": loss}))
        resume.hold_best(lifecycle, print) if hold else None
        lifecycle._update_best_checkpoint(str(root / name), loss, "default")
        return (root / "LOWEST_VAL").readlink().name

    assert published(False, OLDEST, 0.0) == OLDEST and published(False, BEFORE, 2.0) == OLDEST  # AutoModel's own
    assert published(True, BEFORE, 2.0) == BEFORE
    assert published(True, NEWEST, 0.0) == BEFORE
    assert f"{NEWEST}: no token counted in its validation" in capsys.readouterr().out
    assert published(True, NEWEST, 3.0) == BEFORE and published(True, NEWEST, 1.0) == NEWEST


def test_a_recipe_class_that_loads_in_its_own_way_is_left_alone() -> None:
    recipe = SimpleNamespace(load_checkpoint=print)
    resume.watch_over(recipe, print)
    assert recipe.load_checkpoint is print


@pytest.fixture(scope="module")
def resumed(whole: Run, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The undisturbed run's directory, its newest checkpoint damaged, started again with two processes."""
    directory = tmp_path_factory.mktemp("resumed")
    config = write_config("tiny", directory, data_dir, SMALL)
    shutil.copytree(whole.checkpoints, directory / "checkpoints", symlinks=True)
    truncate_shard(directory / "checkpoints" / NEWEST)
    return start(config, processes=2)


def test_a_run_goes_on_from_the_checkpoint_before_the_damaged_one(whole: Run, resumed: Run) -> None:
    assert resumed.code == 0, resumed.output
    assert f"checkpoint {NEWEST} passed over, kept as {NEWEST}.damaged: it is damaged: {SHARD_2}: " in resumed.output
    assert f"checkpoint {BEFORE} is complete: resuming from it\n" in resumed.output
    again = resumed.records()[len(whole.records()) :]
    assert [record["step"] for record in again] == [10, 11]
    for record in again:
        assert record["loss"] == pytest.approx(whole.losses()[record["step"]], rel=1e-4)
    assert json.loads((resumed.directory / "finished.json").read_text())["step"] == 12
    assert faults.find_faults(resumed.checkpoints / NEWEST) == []


def test_without_a_complete_checkpoint_nothing_is_loaded_and_one_line_says_why(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nemo_automodel.components.checkpoint.config import CheckpointingConfig
    from nemo_automodel.recipes.base_recipe import BaseRecipe

    class Sets(BaseRecipe):  # type: ignore[misc]
        def __init__(self, config: object) -> None:
            self.step_scheduler = None

        def setup(self) -> None:
            config = CheckpointingConfig(checkpoint_dir=str(root), save_consolidated=False)
            self.checkpointer = SimpleNamespace(config=config)
            self.load_checkpoint(None)

    for name in (NEWEST, BEFORE, OLDEST):
        lose_optimizer_file(root / name)
    (tmp_path / "config.yaml").write_text("{}")
    monkeypatch.setattr(loading, "resolve_recipe", lambda raw: Sets)
    monkeypatch.setattr(loading, "load_config", lambda path: {})
    monkeypatch.setattr(pretrain, "adapt_to_cpu", lambda config: None)
    capsys.readouterr()  # what AutoModel's import has said
    assert pretrain.main(["--config", str(tmp_path / "config.yaml")]) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"pretrain: no complete checkpoint in {root} ({NEWEST}: optim/__1_0.distcp is missing; ")
