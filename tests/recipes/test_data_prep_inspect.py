"""data_prep.py inspect: what is there, and every kind of damage, each in the file that has it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import data_prep

from tests.conftest import LIMIT_S, ROOT, clean_environ
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    config,
    documents,
    prepare,
    write_jsonl,
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tmp = tmp_path_factory.mktemp("inspect")
    data = write_jsonl(tmp / "a.jsonl", documents(120))
    values = config(tmp, data, num_shards=2)
    megatron = Path(prepare(values, tmp).stdout.strip()).parent
    product = prepare(values | {"format": "nanogpt", "ranks": 1, "output_dir": str(tmp / "n")}, tmp).stdout.strip()
    return {"megatron": megatron, "nanogpt": Path(product).parents[1], "tokenizer": tmp / "tokenizer"}


@pytest.fixture
def copy(outputs: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy to damage; blend.json leads into it."""

    def _copy(kind: str) -> Path:
        root = tmp_path / kind
        shutil.copytree(outputs[kind], root)
        blend = root / "blend.json"
        if blend.exists():
            blend.write_text(blend.read_text().replace(str(outputs[kind]), str(root)))
        return root

    return _copy


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Inspect with --json; checks the exit code against what is said."""

    def _look(path: Path, *options: str) -> dict[str, Any]:
        code = data_prep.main(["inspect", str(path), "--json", *options])
        said = json.loads(capsys.readouterr().out)
        said["all"] = [*said["damage"], *(what for file in said["files"] for what in file["damage"])]
        assert code == (1 if said["all"] else 0) == int(said["is_damaged"])
        return said  # type: ignore[no-any-return]

    return _look


Look = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("kind", ["megatron", "nanogpt"])
def test_a_whole_output(kind: str, outputs: dict[str, Path], look: Look) -> None:
    said = look(outputs[kind])
    record = json.loads((outputs[kind] / "record.json").read_text())
    assert said["all"] == [] and said["notes"] == []
    for split, numbers in record["counts"]["web"].items():
        of_split = [file for file in said["files"] if file["split"] == split]
        assert sum(file["tokens"] for file in of_split) == numbers["tokens"] > 0
        assert sum(file["documents"] for file in of_split) == numbers["documents"]
    for file in said["files"]:
        ids = np.fromfile(Path(file["path"]).with_suffix(".bin"), "<u2")[512 if kind == "nanogpt" else 0 :]
        assert (file["min_id"], file["max_id"], file["tokens"]) == (ids.min(), ids.max(), len(ids))
        starts = np.flatnonzero(ids == 0) if kind == "nanogpt" else [0, *(np.flatnonzero(ids == 0) + 1)[:-1]]
        assert file["longest"] == np.diff([*starts, len(ids)]).max()
        assert file["dtype"] == "uint16" and file["format"] == kind
    assert said["tokenizer"]["vocab_size"] == record["tokenizer"]["vocab_size"]
    assert len(said["documents"]) == 3
    first = said["documents"][0]
    ids = np.fromfile(Path(first["file"]).with_suffix(".bin"), "<u2")[512 if kind == "nanogpt" else 0 :]
    assert first["ids"] == ids[: len(first["ids"])].tolist() and len(first["ids"]) > 5
    assert first["text"].startswith("<|endoftext|>" if kind == "nanogpt" else "0")


def test_every_name_of_the_same_data(outputs: dict[str, Path], look: Look) -> None:
    whole = look(outputs["megatron"])
    assert look(outputs["megatron"] / "blend.json")["files"] == whole["files"]
    for end in ("", ".bin", ".idx"):
        [file] = look(outputs["megatron"] / "train" / f"web_00001{end}")["files"]
        assert file["tokens"] == whole["files"][1]["tokens"]
    assert [f["tokens"] for f in look(outputs["megatron"] / "train")["files"]] == [
        f["tokens"] for f in whole["files"] if f["split"] == "train"
    ]
    for end in (".bin", ".bos.idx"):
        [file] = look(outputs["nanogpt"] / "train" / f"train_00001{end}")["files"]
        assert file["format"] == "nanogpt" and file["documents"] > 10


def test_the_latest_output_below_a_directory(outputs: dict[str, Path], look: Look, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(outputs["nanogpt"])
    assert len(look(tmp_path)["files"]) == 4


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def widen(path: Path) -> None:
    np.fromfile(path, "<u2").astype("<i4").tofile(path)


MEGATRON: dict[str, tuple[Callable[[Path], object], str]] = {
    ".bin truncated": (lambda p: cut(p / "train/web_00000.bin", 100), "truncated: .bin has 100 bytes"),
    ".bin longer": (lambda p: put(p / "train/web_00000.bin", 1 << 20, b"x"), "too long: .bin has 1048577"),
    ".idx truncated": (lambda p: cut(p / "train/web_00000.idx", 90), ".idx is truncated: 90 bytes"),
    ".idx without a header": (lambda p: cut(p / "train/web_00000.idx", 20), "20 bytes are less than its header"),
    "no index at all": (lambda p: put(p / "train/web_00000.idx", 0, b"x"), "not a Megatron index"),
    "dtype of the .idx": (lambda p: put(p / "train/web_00000.idx", 17, b"\4"), "has 2"),
    "dtype of the .bin": (lambda p: widen(p / "train/web_00000.bin"), "dtype mismatch: .idx says 2 bytes a token"),
    "unknown dtype": (lambda p: put(p / "train/web_00000.idx", 17, b"\11"), "the dtype code 9"),
    "lost shard": (lambda p: (p / "train/web_00001.bin").unlink(), "missing: web_00001.bin"),
    "ids": (lambda p: put(p / "train/web_00001.bin", 20, b"\xff\xff"), "1 ids outside the vocabulary of 380"),
    "a length": (lambda p: put(p / "train/web_00000.idx", 34, struct.pack("<i", -5)), "has a length of -5"),
    "an offset": (lambda p: put(p / "valid/web_00000.idx", 18, struct.pack("<Q", 3)), ".idx is too long"),
    "unfinished": (lambda p: (p / "record.json").unlink(), "not finished: no record.json"),
    "no JSON": (lambda p: (p / "blend.json").write_text("{"), "cannot be read as JSON"),
    "an empty split": (lambda p: (p / "blend.json").write_text('{"train": []}'), "a list that is not empty"),
    "a bare string": (lambda p: (p / "blend.json").write_text('{"train": "/x"}'), "a list that is not empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEGATRON)
def test_damage_of_a_pair(name: str, copy: Callable[[str], Path], look: Look) -> None:
    damage, words = MEGATRON[name]
    root = copy("megatron")
    damage(root)
    said = look(root)
    assert any(words in what for what in said["all"]), said["all"]


def test_a_shard_that_blend_json_does_not_name(copy: Callable[[str], Path], look: Look) -> None:
    root = copy("megatron")
    blend = json.loads((root / "blend.json").read_text())
    del blend["train"][2:]
    (root / "blend.json").write_text(json.dumps(blend))
    assert "tokens in 1 files; record.json says" in look(root)["all"][0]
    blend["train"][0] = "0"
    (root / "blend.json").write_text(json.dumps(blend))
    assert any("a weight that is not above 0" in what for what in look(root)["all"])


def test_offsets_that_do_not_fit(copy: Callable[[str], Path], look: Look) -> None:
    idx = copy("megatron") / "train/web_00000.idx"
    count = struct.unpack("<Q", idx.read_bytes()[18:26])[0]
    put(idx, 34 + 4 * count + 8 * 3, struct.pack("<q", 7))
    put(idx, 34 + 12 * count + 8 * count, struct.pack("<q", 2))
    said = look(idx)["all"]
    assert "sequence 3 begins at byte 7" in said[0]
    assert "do not rise from 0" in said[1]


def header(path: Path, **values: int) -> None:
    places = {"magic": 0, "version": 1, "tokens": 2, "itemsize": 3}
    for name, value in values.items():
        put(path, 4 * places[name], struct.pack("<i", value))


def as_bytes(path: Path) -> None:
    """As AutoModel 0.7.0's own tool writes it."""
    (np.fromfile(path, "<i4") * 2 + 1024).astype("<i4").tofile(path)


def shift(path: Path) -> None:
    positions = np.fromfile(path, "<i4")
    positions[3] += 1
    positions.tofile(path)


NANOGPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda p: cut(p / "train/train_00000.bin", 2000), "truncated: .bin has 2000 bytes"),
    "no header": (lambda p: cut(p / "train/train_00000.bin", 500), "500 bytes are less than its header of 1024"),
    "killed writer": (lambda p: header(p / "train/train_00000.bin", tokens=0), "its header says 0 tokens"),
    "itemsize": (lambda p: header(p / "train/train_00000.bin", itemsize=4), "dtype mismatch: its header says 4 bytes"),
    "itemsize 3": (lambda p: header(p / "train/train_00000.bin", itemsize=3), "there are 2 and 4 bytes"),
    "magic": (lambda p: header(p / "train/train_00000.bin", magic=1), "not a nanoGPT shard"),
    "ids": (lambda p: put(p / "train/train_00001.bin", 1034, b"\xff\xff"), "the first at token 5"),
    "lost shard": (lambda p: (p / "train/train_00001.bin").unlink(), "missing"),
    "lost index": (lambda p: (p / "train/train_00001.bos.idx").unlink(), "missing: its .bos.idx"),
    "byte offsets": (lambda p: as_bytes(p / "train/train_00001.bos.idx"), "holds byte offsets"),
    "not on BOS": (lambda p: shift(p / "train/train_00001.bos.idx"), "1 positions are not on BOS tokens; entry 3"),
    "half a position": (lambda p: cut(p / "train/train_00001.bos.idx", 10), "10 bytes are not complete int32"),
    "fewer positions": (lambda p: cut(p / "train/train_00001.bos.idx", 40), "documents in 2 files; record.json says"),
    "a stranger": (lambda p: (p / "train/more.bin").touch(), "more.bin is not in record.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", NANOGPT)
def test_damage_of_a_shard(name: str, copy: Callable[[str], Path], look: Look) -> None:
    damage, words = NANOGPT[name]
    root = copy("nanogpt")
    damage(root)
    said = look(root)
    assert any(words in what for what in said["all"]), said["all"]


def test_files_of_someone_else(outputs: dict[str, Path], look: Look, tmp_path: Path) -> None:
    """Without record.json: what the files say themselves, and the tokenizer of the command line."""
    for end in (".bin", ".bos.idx"):
        shutil.copy(outputs["nanogpt"] / "train" / f"train_00001{end}", tmp_path / f"x{end}")
    said = look(tmp_path / "x.bin")
    assert "no tokenizer is known" in said["notes"][0] and said["documents"][0]["text"] is None
    named = look(tmp_path, "--tokenizer", str(outputs["tokenizer"]), "--documents", "1")
    assert named["files"] == said["files"] and len(named["documents"]) == 1
    assert named["documents"][0]["text"].startswith("<|endoftext|>")
    header(tmp_path / "x.bin", magic=20240520, itemsize=0)  # the legacy format, always uint16
    assert look(tmp_path / "x.bin")["files"][0]["tokens"] == said["files"][0]["tokens"]
    (tmp_path / "x.bos.idx").unlink()
    assert "searches every token" in look(tmp_path / "x.bin")["files"][0]["notes"][0]


def test_another_tokenizer_is_told(outputs: dict[str, Path], look: Look, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(outputs["tokenizer"], other)
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + " ")
    assert (
        "is not the tokenizer that made these data" in look(outputs["nanogpt"], "--tokenizer", str(other))["notes"][0]
    )


def test_text_for_people(outputs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert data_prep.main(["inspect", str(outputs["nanogpt"])]) == 0
    out = capsys.readouterr().out
    assert "train  train_00000.bin  nanogpt  uint16" in out and "380 ids, BOS 0, EOS 0" in out
    assert 'document 0: "<|endoftext|>' in out and out.endswith("no damage found\n")


@pytest.mark.parametrize("name", ["nothing", "empty", "text.txt"])
def test_nothing_to_look_at(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    assert data_prep.main(["inspect", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / name}: no")


def test_it_runs_alone_and_through_the_launcher(outputs: dict[str, Path], tmp_path: Path) -> None:
    lost = tmp_path / "blend.json"
    lost.write_text('{"train": ["1", "/nowhere/x"]}')
    for start in ([str(RECIPE)], [str(ROOT / "launch.py"), "data-prep"]):
        for path, code in ((outputs["megatron"], 0), (lost, 1), (tmp_path / "none", 2)):
            argv = [sys.executable, *start, "inspect", str(path)]
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=LIMIT_S, env=clean_environ(), cwd=tmp_path
            )
            assert done.returncode == code and "Traceback" not in done.stderr
            assert ("missing: x.idx and x.bin" in done.stdout) == (code == 1)


def test_the_launcher_runs_it_with_the_python_of_the_profile(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    python.chmod(0o755)
    env_toml = tmp_path / "env.toml"
    for configured, code, words in ((python, 7, "data_prep.py inspect PATH --json"), ("/none", 2, "cannot be run")):
        env_toml.write_text(f'[local]\nexecutor = "local"\npython = "{configured}"\n')
        argv = [sys.executable, str(ROOT / "launch.py"), "data-prep", "inspect", "PATH", "--json"]
        env = clean_environ() | {"LAUNCH_ENV": str(env_toml)}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, env=env, check=False)
        assert done.returncode == code and words in done.stdout + done.stderr


def test_memory_stays_flat(tmp_path: Path) -> None:
    """A sparse shard of 1 GB: a look at it takes little more memory than at a small one."""
    sizes = {"small": 1 << 20, "large": 1 << 29}
    peaks = {}
    for name, tokens in sizes.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(struct.pack("<4i", 278895051, 1, tokens, 2))
        cut(path, 1024 + 2 * tokens)
        np.arange(0, tokens, 512, dtype="<i4").tofile(path.with_suffix(".bos.idx"))
        code = (
            f"import sys; sys.path.insert(0, {str(RECIPE.parent)!r}); import data_prep, resource\n"
            f"assert data_prep.main(['inspect', {str(path)!r}]) == 0\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        peaks[name] = int(done.stdout.split()[-1])
    assert peaks["large"] < peaks["small"] + 100_000  # kB
