"""`checkpoints RUN` and `--from` on checkpoints of a real run of two ranks: damaged, pruned, exported, pushed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract, workspace
from automodel_launch.commands import main
from automodel_launch.jobs import claims, launcher, records
from automodel_launch.jobs.records import Record
from automodel_launch.launch.checkpoints import asking
from automodel_launch.remote.filesystem import LOCAL, RemoteFileSystem
from automodel_launch.remote.shell import LocalShell
from tests.conftest import ROOT
from tests.recipes.fake_model_hub import ModelHub
from tests.recipes.pretrain_fixtures import Run

sys.path.insert(0, str(ROOT / "recipes"))

from checkpoint_lib import exporting

pytestmark = pytest.mark.train

NAMES = {step: f"epoch_0_step_{step}" for step in (4, 9, 11)}
SHARD = "model/shard-00002-model-00001-of-00001.safetensors"
EXPORT = "model/consolidated/model-00001-of-00001.safetensors"
TOKEN = "hf_notARealTokenButLongEnough"
SMALL = ("step_scheduler.max_steps=4", "step_scheduler.ckpt_every_steps=2", "lr_scheduler.lr_warmup_steps=1")


@dataclass
class Bench:
    """A workspace with one run, `whole`, and launch.py called in this process."""

    root: Path
    record: Record
    capsys: pytest.CaptureFixture[str]

    @property
    def run_dir(self) -> Path:
        return Path(self.record.run_dir)

    def checkpoint(self, step: int) -> Path:
        return self.run_dir / "checkpoints" / NAMES[step]

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = main.main(argv)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def json(self, *argv: str) -> Any:
        return json.loads(self(*argv, "--json")[1])


@pytest.fixture
def bench(whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The undisturbed run as the launcher would have left it: its records, its job's directory, its checkpoints."""
    root = tmp_path / "work"
    root.mkdir()
    for name in ("recipes", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "env.toml").write_text('[local]\nexecutor = "local"\nnodes = 1\nnproc_per_node = 2\n')
    monkeypatch.setattr(workspace, "PACKAGE", root / "automodel_launch")
    monkeypatch.delenv("LAUNCH_ENV", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    job, run = root / "runs" / "whole.1", root / "runs" / "whole"
    (job / "logs").mkdir(parents=True)
    shutil.copytree(whole.checkpoints, run / "checkpoints", symlinks=True)
    order = {"checkpoint_dir": str(run / "checkpoints"), "python": sys.executable, "backend": "automodel"}
    (job / contract.AGENT).write_text(json.dumps(order))
    (job / contract.EXIT).write_text(json.dumps({"state": "COMPLETED", "code": 0, "ended": 2000.0}))
    plan = {"config": {"model": {"dir": "/secret/place/model"}}, "nodes": 1, "processes_per_node": 2}
    (job / contract.PLAN).write_text(json.dumps(plan))
    (run / contract.HISTORY).write_text('{"event": "begun", "time": 1.0, "job_id": "whole.1", "attempt": 0}\n')
    (run / contract.FINISHED).write_text(json.dumps({"step": 12, "max_steps": 12}))
    rows = [*whole.records(), *({"val_loss": 9.0 - r["step"], **r} for r in whole.records("validation.jsonl"))]
    lines = [{"time": float(n), **{k: v for k, v in row.items() if k != "timestamp"}} for n, row in enumerate(rows)]
    (job / contract.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"digest": "d" * 64, "rows": [["/secret/place/shard", "train 1", 1000, 100, "ab"]]}
    (run / contract.DATA).write_text(json.dumps(data))
    words: dict[str, Any] = dict.fromkeys(("recipe", "config", "profile", "mode", "plan_hash"), "x")
    words |= {"job_id": "whole.1", "run_name": "whole", "executor": "local", "job_dir": str(job), "run_dir": str(run)}
    record = Record(**words, submitted=1000.0, max_steps=12)
    records.save(root / ".launch" / "jobs", record)
    return Bench(root, record, capsys)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


def tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Name -> type, shape and bytes, as the file itself says (https://github.com/huggingface/safetensors#format)."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    parts = {name: [begin + offset for offset in told["data_offsets"]] for name, told in header.items()}
    return {n: (header[n]["dtype"], header[n]["shape"], content[first:last]) for n, (first, last) in parts.items()}


def test_they_are_listed_with_their_losses(bench: Bench) -> None:
    told = bench.json("checkpoints", "whole")
    assert [(row["step"], row["state"]) for row in told["checkpoints"]] == [
        (4, "complete"),
        (9, "complete"),
        (11, "complete"),
    ]
    sizes = [sum(f.stat().st_size for f in bench.checkpoint(s).rglob("*") if f.is_file()) for s in (4, 9, 11)]
    assert [row["bytes"] for row in told["checkpoints"]] == sizes
    assert all(row["val_loss"] is not None for row in told["checkpoints"])
    assert told["last"] == NAMES[11]
    best = min(told["checkpoints"], key=lambda row: row["val_loss"])
    assert told["best"] == best["name"]
    (bench.checkpoint(9) / contract.INCOMPLETE).touch()
    code, out, _ = bench("checkpoints")
    assert (code, "9 " in out, "incomplete" in out) == (0, True, True)
    assert max(map(len, out.splitlines())) <= 80


def test_a_validation_of_no_token_makes_no_best(bench: Bench) -> None:
    job = Path(bench.record.job_dir)
    rows = [json.loads(line) for line in (job / contract.METRICS).read_text().splitlines()]
    rows = [{**row, "val_loss": 0.0} if row["step"] == 4 and "val_loss" in row else row for row in rows]
    rows = [{**row, "val_loss": 0.0, "val_loss_web": 1.5} if row["step"] == 11 else row for row in rows]
    (job / contract.METRICS).write_text("".join(f"{json.dumps(row)}\n" for row in rows if row["step"] != 9))
    for step in (4, 9):
        (bench.checkpoint(step) / "losses.json").write_text('{"train_loss": 1.0, "val_loss": 0.0}')
    told = bench.json("checkpoints", "whole")
    assert [row["val_loss"] for row in told["checkpoints"]] == [None, None, 1.5]
    assert told["best"] == NAMES[11]


@pytest.mark.parametrize("file", [SHARD, EXPORT])
def test_a_truncated_file_is_told(bench: Bench, file: str) -> None:
    assert bench("checkpoints", "whole", "verify")[:2] == (0, "".join(f"{NAMES[s]}: whole\n" for s in (4, 9, 11)))
    cut(bench.checkpoint(11) / file)
    code, out, _ = bench("checkpoints", "whole", "verify", "11")
    assert code == 3
    assert f"{Path(file).name}: " in out
    assert " bytes instead of the " in out
    assert bench("checkpoints", "whole", "verify", "9")[0] == 0
    (bench.checkpoint(11) / contract.INCOMPLETE).touch()  # a running job's own save is no fault
    assert bench("checkpoints", "whole", "verify")[0] == 0
    assert bench("checkpoints", "whole", "verify", "11")[0] == 3


def test_what_goes_is_shown_first_and_the_last_whole_one_stays(bench: Bench) -> None:
    cut(bench.checkpoint(11) / SHARD)
    (bench.run_dir / "checkpoints" / f"{NAMES[4]}.damaged").mkdir()
    before = sorted(bench.run_dir.rglob("*"))
    told = bench.json("checkpoints", "whole", "prune")
    assert [one["name"] for one in told["keeps"]][-1] == NAMES[9]
    assert NAMES[11] in [one["name"] for one in told["removes"]]
    assert (told["removed"], sorted(bench.run_dir.rglob("*"))) == ([], before)
    assert "--yes" in bench("checkpoints", "whole", "prune")[2]
    code, _out, _ = bench("checkpoints", "whole", "prune", "--yes")
    assert code == 0
    left = {path.name for path in (bench.run_dir / "checkpoints").iterdir() if path.is_dir() and not path.is_symlink()}
    assert left == {one["name"] for one in told["keeps"]}
    assert bench("checkpoints", "whole", "prune", "--yes")[2] == "nothing to remove\n"


def test_nothing_goes_where_none_is_whole(bench: Bench) -> None:
    for step in NAMES:
        cut(bench.checkpoint(step) / SHARD)
    code, _, err = bench("checkpoints", "whole", "prune", "--yes")
    assert (code, "no checkpoint that is whole" in err) == (2, True)
    assert all(bench.checkpoint(step).is_dir() for step in NAMES)


def test_a_run_at_work_is_left_alone(bench: Bench) -> None:
    """By its claim, before anything is looked at; and by the lock that its agent holds, at the last moment."""
    lock = bench.run_dir / contract.LOCK
    lock.write_text("whole.2\n")
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, _, err = bench("checkpoints", "whole", "prune", "--yes")
        assert (code, "whole.2 of this run is at work" in err) == (2, True), err
    young = replace(bench.record, job_id="whole.2", launcher=launcher.this())
    claims.make(young, None, LOCAL)
    code, _, err = bench("checkpoints", "whole", "prune")
    assert (code, "its checkpoints are left alone" in err) == (3, True), err
    assert all(bench.checkpoint(step).is_dir() for step in NAMES)


def test_what_an_unfinished_run_begins_from_stays(bench: Bench) -> None:
    reader = bench.root / "runs" / "other"
    reader.mkdir()
    note = {"run_name": "other", "run_dir": str(reader), "checkpoint": NAMES[4]}
    LOCAL.create(f"{bench.run_dir}/{contract.READERS}/other.json", json.dumps(note))
    (bench.run_dir / contract.READERS / "odd.json").write_text('["not one"]')
    kept = {one["name"]: one["why"] for one in bench.json("checkpoints", "whole", "prune")["keeps"]}
    assert "other" in kept[NAMES[4]]
    (reader / contract.FINISHED).write_text("{}")
    assert NAMES[4] in [one["name"] for one in bench.json("checkpoints", "whole", "prune")["removes"]]


def test_what_the_end_of_the_run_names_stays(bench: Bench) -> None:
    """A damaged one because of finished.json not; because of its export, where `hf` leads, all the same."""
    end = {"step": 5, "max_steps": 12, "checkpoint": str(bench.checkpoint(4))}
    (bench.run_dir / contract.FINISHED).write_text(json.dumps(end))
    kept = {one["name"]: one["why"] for one in bench.json("checkpoints", "whole", "prune")["keeps"]}
    assert kept[NAMES[4]] == contract.FINISHED
    cut(bench.checkpoint(4) / SHARD)
    assert NAMES[4] in [one["name"] for one in bench.json("checkpoints", "whole", "prune")["removes"]]
    (bench.run_dir / contract.HF).symlink_to(f"checkpoints/{NAMES[4]}/model/consolidated")
    kept = {one["name"]: one["why"] for one in bench.json("checkpoints", "whole", "prune")["keeps"]}
    assert kept[NAMES[4]] == f"{contract.FINISHED}, {contract.HF}"


def test_what_the_config_of_an_unfinished_run_names_stays(bench: Bench) -> None:
    """By its path, wherever that is mounted; until that run has completed."""
    job = bench.root / "runs" / "other.1"
    job.mkdir()
    (job / contract.CONFIG).write_text(f"model: {{path: /mounted/whole/checkpoints/{NAMES[4]}/model}}\n")
    (job / contract.EXIT).write_text(json.dumps({"state": "FAILED", "code": 1, "ended": 2000.0}))
    run_dir = str(bench.root / "runs" / "other")
    other = replace(bench.record, job_id="other.1", run_name="other", job_dir=str(job), run_dir=run_dir)
    records.save(bench.root / ".launch" / "jobs", other)
    records.save(bench.root / ".launch" / "jobs", replace(other, job_id="odd.1", executor="another", run_dir="/odd"))
    kept = {one["name"]: one["why"] for one in bench.json("checkpoints", "whole", "prune")["keeps"]}
    assert kept[NAMES[4]] == "named in the config of an unfinished run"
    (job / contract.EXIT).write_text(json.dumps({"state": "COMPLETED", "code": 0, "ended": 2000.0}))
    records.save(bench.root / ".launch" / "jobs", other)
    assert NAMES[4] in [one["name"] for one in bench.json("checkpoints", "whole", "prune")["removes"]]


def test_what_a_killed_export_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """Tens of gigabytes under a hidden name; not what another process is writing now."""
    output, killed, other = (tmp_path / name for name in ("out", ".out.partial-77", ".out.partial-78"))
    for folder in (killed, other):
        folder.mkdir()
        (folder / "model.safetensors").touch()
        (folder / ".lock").touch()
    with (other / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        exporting._write(output, lambda target: (target / "config.json").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial-78", "out"]
    assert [path.name for path in output.iterdir()] == ["config.json"]


def test_an_export_has_its_name_when_all_of_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota on a network file system is told of by fsync alone; a machine that dies takes what was not written."""
    output, synced = tmp_path / "out", list[str]()

    def fill(target: Path) -> None:
        (target / "sub").mkdir()
        for name in ("config.json", "sub/model.safetensors"):
            (target / name).write_text("{}")
        (target / "link").symlink_to("/nowhere")

    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        synced.append(path.partition(".partial-")[2][8:] or path)
        if path.endswith(full):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    full = ".safetensors"
    with pytest.raises(OSError, match="quota exceeded"):
        exporting._write(output, fill)
    assert list(tmp_path.iterdir()) == []
    full = "nothing"
    synced.clear()
    exporting._write(output, fill)
    assert [synced[0], synced[-1]] == ["/sub/model.safetensors", str(tmp_path)] and "/config.json" in synced
    assert sorted(path.name for path in output.iterdir()) == ["config.json", "link", "sub"]


def test_shards_are_exported_as_automodel_would(bench: Bench, tmp_path: Path) -> None:
    """The last checkpoint holds AutoModel's own export; without it, ours has the same tensors to the byte."""
    own = tensors(bench.checkpoint(11) / EXPORT)
    code, out, err = bench("checkpoints", "whole", "export", "last", "one")
    assert (code, out) == (0, f"{tmp_path / 'one'}\n"), err
    shutil.rmtree(bench.checkpoint(11) / "model" / "consolidated")
    assert bench("checkpoints", "whole", "export", "11", "two")[0] == 0
    for name in ("one", "two"):
        assert tensors(tmp_path / name / Path(EXPORT).name) == own
        names = {path.name for path in (tmp_path / name).iterdir()}
        assert {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "training_config.yaml"} <= names
        assert not any(one.startswith(("fqn_to", "shard-", ".")) for one in names)
    card = (tmp_path / "two" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    told = (
        "| steps | `12 of 12` |",
        "`" + "d" * 64 + "`",
        "`shard`",
        "1,100 bytes",
        "| validation loss |",
        "| tokens |",
    )
    assert [text for text in told if text not in card] == []
    assert "/secret" not in card + (tmp_path / "two" / "training_config.yaml").read_text()
    assert "is not empty" in bench("checkpoints", "whole", "export", "9", "two")[2]
    cut(bench.checkpoint(9) / SHARD)
    code, _, err = bench("checkpoints", "whole", "export", "9", "three")
    assert (code, "is not complete" in err, (tmp_path / "three").exists()) == (2, True, False)


def test_it_is_pushed_to_a_private_repository(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelHub(TOKEN).running() as hub:
        for name, value in {**hub.environ, "HF_HOME": str(bench.root / "hf")}.items():
            monkeypatch.setenv(name, value)
        code, _, err = bench("checkpoints", "whole", "push", "me/model")
        assert (code, "there is no token" in err, hub.requests) == (2, True, []), err
        monkeypatch.setenv("HF_TOKEN", "hf_aTokenThatMayNotWrite")
        code, out, err = bench("checkpoints", "whole", "push", "me/model")
        assert (code, out, "[token]" in err, "hf_aToken" in err) == (2, "", True, False), err
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        code, out, err = bench("checkpoints", "whole", "push", "me/model")
        assert (code, out) == (0, f"{hub.address}/me/model (private)\n"), err
        assert TOKEN not in out + err
        assert hub.cards[0] == {"library_name": "transformers", "tags": ["automodel-launch"]}
        files = hub.repositories["me/model"]["files"]
        exported = bench.run_dir / "exports" / NAMES[11]
        assert files == {path.name: path.read_bytes() for path in exported.iterdir()}
        hub.repositories["me/model"]["private"] = False
        code, _, err = bench("checkpoints", "whole", "push", "11", "me/model")
        assert (code, "public" in err, "--public" in err) == (2, True, True)
        assert bench("checkpoints", "whole", "push", "11", "me/model", "--public")[0] == 0
    code, _, err = bench("checkpoints", "whole", "push", "me/model", "--public")
    assert (code, "reachable" in err, "Traceback" in err) == (2, True, False), err


def test_behind_a_connection_the_token_travels_in_a_file_that_is_gone(bench: Bench, tmp_path: Path) -> None:
    place = RemoteFileSystem(LocalShell())
    ask = {"folder": str(bench.run_dir / "checkpoints"), "run_dir": str(bench.run_dir)}
    told = asking.ask(place, ROOT / "recipes", "/no/such/python", {"do": "list", **ask})
    assert [row["name"] for row in told["checkpoints"]] == list(NAMES.values())
    with ModelHub(TOKEN).running() as hub:
        push = {"do": "push", "folder": str(bench.checkpoint(11) / "model" / "consolidated"), "repo": "me/model"}
        more = {"private": True, "message": "x", "environ": {**hub.environ, "HF_HOME": str(tmp_path / "hf")}}
        done = asking.ask(place, ROOT / "recipes", sys.executable, {**push, **more}, token=TOKEN)
        assert done == {"url": f"{hub.address}/me/model", "private": True}
    assert not [path for path in Path("/tmp").glob("launch-checkpoints-*") if path.stat().st_uid == os.getuid()]


def test_another_run_begins_from_one(bench: Bench) -> None:
    launch = ("pretrain", "-c", "tiny", *SMALL, "--dry-run", "--offline")
    code, _, err = bench(*launch, "--from", "whole:9")
    assert (code, "checkpoints whole export 9" in err) == (2, True), err
    shutil.copytree(bench.checkpoint(11) / "model" / "consolidated", bench.run_dir / "exports" / NAMES[9])
    plans = {word: bench.json(*launch, "--from", word) for word in ("whole:9", "whole", "whole:last")}
    plain = bench.json(*launch)
    assert len({plan["run_name"] for plan in (*plans.values(), plain)}) == 3
    model = plans["whole:9"]["config"]["model"]
    assert model["pretrained_model_name_or_path"] == str(bench.run_dir / "exports" / NAMES[9])
    assert model["_target_"].endswith(".from_pretrained")
    assert "config" not in model
    assert plans["whole"]["origin"]["checkpoint"] == NAMES[11]
    assert plans["whole"]["config"]["model"]["pretrained_model_name_or_path"].endswith("model/consolidated")
    assert "origin-may-go" not in [one["code"] for one in plans["whole"]["findings"]]
    (bench.run_dir / contract.FINISHED).unlink()
    assert "origin-may-go" not in [one["code"] for one in bench.json(*launch, "--from", "whole")["findings"]]
    Path(bench.record.job_dir, contract.PLAN).write_text(
        json.dumps({"config": {"checkpoint": {"max_recent_checkpoints": 3}}})
    )
    found = {one["code"]: one for one in bench.json(*launch, "--from", "whole")["findings"]}["origin-may-go"]
    assert "checkpoint.max_recent_checkpoints = 3" in found["message"]
    assert found["fix"].startswith("python launch.py checkpoints whole export 11")
    tuned = bench.json(
        "finetune", "-c", "tiny", "--from", "whole:9", "dataset.path_or_dataset_id=/x.jsonl", *launch[-2:]
    )
    assert tuned["config"]["model"]["pretrained_model_name_or_path"].endswith(NAMES[9])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("checkpoints", "whole", "pruen"), "prune"),
        (("checkpoints", "whole", "export"), "which STEP"),
        (("checkpoints", "whole", "export", "5", "x"), "of step 4, 9, 11"),
        (("checkpoints", "whole", "list", "3"), "one word too many"),
        (("checkpoints", "whole", "push", "model"), "ORG/NAME"),
        (("checkpoints", "whole", "list", "--yes"), "belongs to prune"),
        (("checkpoints", "whole", "prune", "--keep", "0"), "a number from 1"),
        (("pretrain", "-c", "tiny", "--dry-run", "--from", "whole:5"), "of step 4, 9, 11"),
        (("pretrain", "-c", "tiny", "--dry-run", "--from", "whole:"), "--from RUN:STEP"),
        (("pretrain", "-c", "nanogpt", "--dry-run", "--from", "whole"), "another builder"),
        (("pretrain-bridge", "-c", "tiny", "--dry-run", "--from", "whole"), "convert hf-to-megatron"),
        (("pretrain", "-c", "tiny", "--dry-run", "--from", "whole", "--name", "whole"), "begin from itself"),
        (("data-prep", "-c", "tiny", "--dry-run", "--from", "whole"), "not known"),
    ],
)
def test_what_is_not_understood_is_refused(bench: Bench, words: tuple[str, ...], said: str) -> None:
    code, out, err = bench(*words)
    assert (code, out) == (2, ""), err
    assert said in err


def test_an_evaluations_loss_is_that_of_the_validation_and_it_is_done_once(bench: Bench, whole: Run) -> None:
    shutil.copy(whole.directory / "config.yaml", Path(bench.record.job_dir, contract.CONFIG))
    before = {path: path.read_bytes() for path in bench.run_dir.rglob("*") if path.is_file()}
    code, out, err = bench("evaluate", "whole:9", "run.env.nproc_per_node=1", "--no-rehearse")
    assert code == 0, out + err
    wanted = {record["step"]: record["val_loss"] for record in whole.records("validation.jsonl")}
    rows = {row["step"]: row for row in bench.json("checkpoints", "whole")["checkpoints"]}
    (told,) = rows[9]["evaluations"]
    assert (told["name"], told["loss"]) == ("default", pytest.approx(wanted[9], rel=1e-5))
    assert told["tokens"] == 8 * 32 and "blend.json validation" in told["data"]
    assert rows[4]["evaluations"] == [] and f"{told['loss']:.4f}" in bench("checkpoints", "whole")[1]
    after = {path: path.read_bytes() for path in bench.run_dir.rglob("*") if path.is_file()}
    new = {path.relative_to(bench.run_dir).parts[0] for path in after.keys() - before.keys()}
    assert all(after[path] == content for path, content in before.items()) and new == {"checkpoints", "readers"}
    again = bench("evaluate", "whole:9", "run.env.nproc_per_node=1", "--no-rehearse")
    assert again[0] == 0 and "finished" in again[1] + again[2]
    job = json.loads(bench("jobs", "--json")[1])[-1]["job_id"]
    assert "python launch.py evaluate whole:9 --run local run.env.nproc_per_node=1" in bench("status", job)[1]
    other = {"name": "default", "data": "/other/blend.json test", "loss": 2.5, "perplexity": 12.2, "tokens": 1}
    file = bench.run_dir / "checkpoints" / contract.EVALUATIONS / "epoch_0_step_9.json"
    file.write_text(json.dumps({"results": [told, other, {"loss": None}, 5]}))
    code, out, err = bench("checkpoints", "whole")
    assert "held-out  held-out 2" in out and "held-out 2: /other/blend.json test" in err
