"""The identity of data: what changes it, what does not, and that launcher, job and login node tell the same."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import data_identity
from automodel_launch.checks import data as data_checks
from automodel_launch.data_identity import MEGATRON, NANOGPT, compare, look
from automodel_launch.remote import probes
from automodel_launch.remote.shell import LocalShell
from tests.conftest import ROOT
from tests.workbench import write_pair, write_shard

FILE = ROOT / "recipes" / "data_identity.py"


def test_launcher_and_job_have_one_file() -> None:
    link = ROOT / "automodel_launch" / "data_identity.py"
    assert link.is_symlink() and link.readlink() == Path("../recipes/data_identity.py")


def test_it_needs_nothing_and_a_login_nodes_old_python() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)


@pytest.fixture
def blend(tmp_path: Path) -> Path:
    """Two shards of training and one of validation."""
    (tmp_path / "train").mkdir()
    (tmp_path / "valid").mkdir()
    one, two, held = (tmp_path / name for name in ("train/a_0", "train/a_1", "valid/a_0"))
    write_pair(one, [1, 2, 3], [4])
    write_pair(two, [5, 6])
    write_pair(held, [7])
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"train": ["0.25", str(one), 0.75, str(two)], "valid": [str(held)]}))
    return path


def of(path: Path | str) -> dict[str, Any]:
    return look([[MEGATRON, str(path)]], [])


def rewritten(blend: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(blend.read_text())
    change(value)
    blend.write_text(json.dumps(value))


def test_touched_copied_or_moved_data_are_the_same(blend: Path, tmp_path: Path) -> None:
    before = of(blend)
    assert before["digest"] and len(before["rows"]) == 3
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    assert of(blend)["digest"] == before["digest"]
    moved = tmp_path / "elsewhere"
    for split in ("train", "valid"):
        shutil.copytree(tmp_path / split, moved / split)
    (moved / "blend.json").write_text(blend.read_text().replace(f"{tmp_path}/", f"{moved}/"))
    assert of(moved / "blend.json")["digest"] == before["digest"]
    assert look([[MEGATRON, "/data/blend.json"]], [["/data", str(moved)], [str(moved), str(moved)]]) == of(
        moved / "blend.json"
    )


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a longer shard": (lambda b: write_pair(b.parent / "train/a_1", [5, 6, 8]), ("train/a_1", "4 + ", "now 6 + ")),
    "other ids": (lambda b: write_pair(b.parent / "train/a_1", [5, 9]), ("train/a_1", "of other content")),
    "other documents": (lambda b: write_pair(b.parent / "train/a_0", [1], [2, 3, 4]), ("a_0", "of other content")),
    "a weight": (lambda b: rewritten(b, lambda v: v["train"].__setitem__(0, "0.5")), ("'train 0.25'", "'train 0.5'")),
    "a shard less": (lambda b: rewritten(b, lambda v: v["train"].__delitem__(slice(2, 4))), ("a_1", "is gone")),
    "another order": (
        lambda b: rewritten(b, lambda v: v.update(train=v["train"][2:] + v["train"][:2])),
        ("in another order",),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_makes_other_data_and_how_it_is_told(name: str, blend: Path) -> None:
    before = of(blend)
    change, words = CHANGES[name]
    change(blend)
    after = of(blend)
    assert after["digest"] != before["digest"]
    told = "; ".join(compare(before, after))
    assert all(word in told for word in words), told
    assert compare(before, before) == compare({}, after) == compare(before, {"digest": None}) == []


def test_many_differences_are_counted(tmp_path: Path) -> None:
    prefixes = [write_pair(tmp_path / f"s_{n:03}", [n]) for n in range(100)]
    before = look([[MEGATRON, prefixes]], [])
    for prefix in prefixes[10:]:
        write_pair(Path(prefix), [1, 2])
    told = compare(before, look([[MEGATRON, prefixes]], []))
    assert len(told) == data_identity.SHOWN + 2 and "and 84 more" in told and told[-1].startswith("in all 100 files of")


def test_every_form_of_a_config(blend: Path, tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "n_0.bin", [1, 2, 3])
    assert len(look([[NANOGPT, f"{tmp_path}/n_*.bin"]], [])["rows"]) == 1
    assert look([[NANOGPT, [shard]]], [])["digest"] == look([[NANOGPT, f"{tmp_path}/n_*.bin"]], [])["digest"]
    assert len(of(f"{tmp_path}/train/*.bin")["rows"]) == 2
    assert len(of(f"{tmp_path}/train/a_0")["rows"]) == 1
    inline = {"train": ["1", f"{tmp_path}/train/a_0"], "validation": [f"{tmp_path}/valid/a_0"]}
    assert [row[1] for row in look([[MEGATRON, inline]], [])["rows"]] == ["train 1", "validation"]


def test_what_cannot_be_told(blend: Path, tmp_path: Path) -> None:
    def why(value: Any, mounts: list[list[str]] | None = None) -> tuple[str, bool]:
        found = look([[MEGATRON, value]], mounts or [])
        assert found["digest"] is None
        return found["why"], found["elsewhere"]

    assert why("/no/blend.json") == ("/no/blend.json: No such file or directory", False)
    assert why("data/blend.json") == ("data/blend.json is no absolute path", False)
    assert why(str(blend), [["/other", "/other"]]) == (f"{blend} is not on this machine", True)
    assert why(f"{tmp_path}/none*")[0] == "the config names no files"
    (tmp_path / "train/a_1.idx").unlink()
    assert "train/a_1.idx: No such file" in why(str(blend))[0]
    blend.write_text("{")
    assert "not JSON" in why(str(blend))[0]


def test_few_bytes_of_a_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = write_pair(tmp_path / "big", *[[1] * 2000] * 200)
    read: list[int] = []
    real = os.pread

    def counted(file: int, count: int, at: int) -> bytes:
        found = real(file, count, at)
        read.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", counted)
    look([[MEGATRON, [prefix] * 200]], [])
    assert max(read) <= data_identity.PART and len(read) <= 200 * 2 + 2 * data_identity.SAMPLED


def test_a_login_node_is_asked_with_the_same_file(blend: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    named = [[MEGATRON, str(blend)]]
    begun = of(blend)
    (tmp_path / "run" / "data.json").write_text(json.dumps(begun))
    asked = data_checks.question(named, [], str(tmp_path / "run"))
    assert data_checks.differences(probes.run(LocalShell(), asked)) == []
    write_pair(tmp_path / "train/a_1", [5, 6, 8])
    assert data_checks.differences(probes.run(LocalShell(), asked)) == compare(begun, of(blend)) != []
    assert data_checks.question([[MEGATRON, ["/x" * 40_000]]], [], "/run") == {}
