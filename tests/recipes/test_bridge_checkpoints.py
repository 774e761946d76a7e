"""Checkpoints in Megatron-Bridge's form, written with torch as it does: which is resumed from, what may be deleted."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from checkpoint_lib import exporting, listing
from checkpoint_lib.choice import NoneComplete
from checkpoint_lib.megatron import choice, faults, retention
from checkpoint_lib.stopped import Stopped


def write(root: Path, iterations: int) -> Path:
    """One checkpoint, and the trackers that name it, in the order of save_checkpoint of 0.3.1."""
    import torch
    import torch.distributed.checkpoint as dcp

    path = root / f"iter_{iterations:07d}"
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=path, no_dist=True)
    (path / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist"}))
    torch.save({"args": None}, path / "common.pt")
    torch.save({"step": torch.tensor(iterations)}, path / faults.TRAIN_STATE)
    shutil.copy(path / faults.TRAIN_STATE, root / choice.LATEST_STATE)
    (root / choice.LATEST_NUMBER).write_text(str(iterations))
    (path / "run_config.yaml").write_text("_target_: x\ncheckpoint: {}\ntrain:\n  train_iters: 9\n")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints, of which each test has a copy."""
    folder = tmp_path_factory.mktemp("written")
    for iterations in (4, 8, 12):
        write(folder, iterations)
    return folder


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "__0_0.distcp: ": lambda path: cut(path / "__0_0.distcp"),
    "__0_0.distcp is missing": lambda path: (path / "__0_0.distcp").unlink(),
    ".metadata is missing": lambda path: (path / ".metadata").unlink(),
    ".metadata: ": lambda path: cut(path / ".metadata"),
    "common.pt: ": lambda path: cut(path / "common.pt"),
    "common.pt is missing": lambda path: (path / "common.pt").unlink(),
    "metadata.json is cut off": lambda path: (path / "metadata.json").write_bytes(b"{"),
    "metadata.json is missing": lambda path: (path / "metadata.json").unlink(),
    "train_state.pt: ": lambda path: cut(path / "train_state.pt"),
    "run_config.yaml is missing": lambda path: (path / "run_config.yaml").unlink(),
    "run_config.yaml is cut off": lambda path: (path / "run_config.yaml").write_bytes(b"_target_: x\n"),
}


@pytest.mark.parametrize("told", DAMAGES)
def test_a_damaged_newest_is_passed_over_kept_and_named(root: Path, told: str) -> None:
    newest = root / "iter_0000012"
    assert faults.find_faults(newest) == []
    DAMAGES[told](newest)
    assert any(fault.startswith(told) for fault in faults.find_faults(newest))
    chosen, lines = choice.settle(root)
    assert chosen == root / "iter_0000008"
    assert not newest.exists()
    assert (root / "damaged-iter_0000012").is_dir()
    assert any(told in line and "kept as damaged-iter_0000012" in line for line in lines)
    assert (root / choice.LATEST_STATE).read_bytes() == (chosen / "train_state.pt").read_bytes()
    assert (root / choice.LATEST_NUMBER).read_text() == "8"
    assert choice.settle(root) == (chosen, ["checkpoint iter_0000008 is complete: resuming from it"])


def test_a_save_that_was_cut_short_stays_and_is_passed_over(root: Path) -> None:
    (root / "iter_0000016").mkdir()
    (root / "iter_0000016" / "__0_0.distcp").write_bytes(b"half")
    chosen, lines = choice.settle(root)
    assert chosen == root / "iter_0000012"
    assert lines[0] == "checkpoint iter_0000016 passed over: its save was interrupted"
    assert (root / "iter_0000016").is_dir()


@pytest.mark.parametrize("name", [choice.LATEST_STATE, choice.LATEST_NUMBER])
def test_trackers_that_are_cut_off_are_mended(root: Path, name: str) -> None:
    whole = (root / name).read_bytes()
    (root / name).write_bytes(b"")
    assert choice.settle(root)[0] == root / "iter_0000012"
    assert (root / name).read_bytes() == whole


def test_trackers_that_somebody_has_turned_back_count(root: Path) -> None:
    """Megatron-Bridge reads latest_train_state.pt first, whatever the text says."""
    shutil.copy(root / "iter_0000004" / "train_state.pt", root / choice.LATEST_STATE)
    chosen, lines = choice.settle(root)
    assert chosen == root / "iter_0000004"
    assert [line.partition(" is complete and later")[0] for line in lines[:2]] == [
        "checkpoint iter_0000008",
        "checkpoint iter_0000012",
    ]
    (root / choice.LATEST_STATE).unlink()
    (root / choice.LATEST_NUMBER).write_text("8")
    assert choice.settle(root)[0] == root / "iter_0000008"


def test_none_complete_changes_nothing(root: Path) -> None:
    for path in choice.checkpoints(root):
        cut(path / ".metadata")
    before = sorted(root.rglob("*"))
    with pytest.raises(NoneComplete, match=r"no complete checkpoint.*iter_0000012: .metadata"):
        choice.settle(root)
    assert sorted(root.rglob("*")) == before


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    assert choice.settle(tmp_path / "not-there") == (None, [])
    assert choice.settle(tmp_path) == (None, [])


def test_somebody_elses_checkpoints_are_only_read(root: Path) -> None:
    cut(root / "iter_0000012" / "common.pt")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert choice.settle(root, repair=False)[0] == root / "iter_0000008"
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("iter_*"))


def test_old_checkpoints_go_while_enough_complete_ones_stay(root: Path) -> None:
    said: list[str] = []
    (root / "iter_0000016").mkdir()  # being saved in the background
    assert [path.name for path in retention.prune(root, 2, said.append)] == ["iter_0000004"]
    assert names(root) == ["iter_0000008", "iter_0000012", "iter_0000016"]
    assert retention.prune(root, 2, said.append) == retention.prune(root, 0, said.append) == []
    cut(root / "iter_0000012" / "common.pt")
    assert retention.prune(root, 1, said.append) == []
    assert names(root) == ["iter_0000008", "iter_0000012", "iter_0000016"]
    assert said[0].startswith("no old checkpoint is deleted: iter_0000012 is not complete: common.pt")


def test_an_iteration_gets_a_directory_that_a_run_begins_from(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Megatron-Bridge reads what a directory's trackers name: those of the run name its newest."""
    run = tmp_path_factory.mktemp("run")
    asked = {"folder": str(root), "run_dir": str(run), "source": str(root / "iter_0000008"), "texts": {}, "others": "o"}
    source = {**asked, "name": "iter_0000008", "fix": "export it"}
    with pytest.raises(Stopped) as refused:
        listing.source(source)
    assert refused.value.fix == "export it"
    with pytest.raises(Stopped) as refused:
        exporting.answer({**asked, "output": str(run / "hf"), "convert": "convert it"})
    assert (refused.value.fix, (run / "hf").exists()) == ("convert it", False)
    made = exporting.answer({**asked, "output": "", "convert": ""})["output"]
    assert listing.source(source)["path"] == made
    assert choice.named(Path(made)) == Path(made) / "iter_0000008"
    assert faults.find_faults(Path(made) / "iter_0000008") == []
    assert [row["step"] for row in listing.answer(asked)["checkpoints"]] == [3, 7, 11]
    cut(root / "iter_0000008" / "__0_0.distcp")
    with pytest.raises(Stopped, match="not complete"):
        listing.source(source)


@pytest.mark.parametrize("name", [".metadata", "run_config.yaml", "metadata.json"])
def test_a_pipe_in_a_checkpoint_is_not_waited_for(root: Path, name: str) -> None:
    path = root / "iter_0000004" / name
    path.unlink()
    os.mkfifo(path)
    assert any(name in fault for fault in faults.find_faults(path.parent))
