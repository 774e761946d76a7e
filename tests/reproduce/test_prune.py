"""`prune`: what can go of old jobs and runs, and what never goes."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automodel_launch import contract
from automodel_launch.jobs import records
from automodel_launch.remote.filesystem import LOCAL, RemoteFileSystem
from automodel_launch.remote.shell import Done, LocalShell
from tests.commands.conftest import Cli, launch  # noqa: F401

DAY = 86400.0


@pytest.fixture
def cli(launch: Cli) -> Iterator[Cli]:  # noqa: F811
    """Two jobs of a run with four checkpoints, the last one incomplete, as they are left by training."""
    _job(launch, 1, 100, "FAILED")
    _job(launch, 2, 50)
    checkpoints = launch.bench.root / "runs" / "stub-a" / "checkpoints"
    for step in (9, 19, 29, 39):
        folder = checkpoints / f"epoch_0_step_{step}"
        folder.mkdir(parents=True)
        (folder / "model").write_bytes(b"x" * 100_000)
        (folder / "losses.json").write_text("{}")
    (checkpoints / "epoch_0_step_39" / ".incomplete").touch()
    yield launch


def _job(launch: Cli, number: int, days: float, state: str | None = "COMPLETED") -> Path:  # noqa: F811
    job = launch.job(number, state)
    folder = Path(job.job_dir)
    checkpoints = str(launch.bench.root / "runs" / "stub-a" / "checkpoints")
    (folder / "agent.json").write_text(json.dumps({"checkpoint_dir": checkpoints}))
    (folder / "plan.json").write_text("{}")
    (folder / "code").mkdir()
    (folder / "code" / "big.py").write_bytes(b"x" * 50_000)
    (folder / "logs" / "rank-0.log").write_text("words")
    if state:
        end = {"state": state, "code": 0, "ended": time.time() - days * DAY}
        (folder / "exit.json").write_text(json.dumps(end))
    return folder


def _items(launch: Cli, *options: str) -> dict[str, Any]:  # noqa: F811
    code, out, err = launch("prune", *options, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def _names(found: dict[str, Any]) -> set[str]:
    return {item["job_id"] or item["paths"][0].rpartition("/")[2] for item in found["items"]}


def test_a_dry_run_changes_nothing_and_yes_keeps_what_is_needed(cli: Cli) -> None:
    before = cli.files()
    found = _items(cli)
    assert cli.files() == before
    assert _names(found) == {"stub-a.1", "epoch_0_step_9"}
    assert found["bytes"] == sum(item["bytes"] for item in found["items"]) >= 150_000
    code, out, err = cli("prune")
    assert "nothing was removed; --yes does it" in err and "epoch_0_step_9" in out
    code, out, err = cli("prune", "--yes")
    assert (code, "removed 2 items" in err) == (0, True)
    root = cli.bench.root / "runs"
    assert sorted(path.name for path in (root / "stub-a" / "checkpoints").iterdir()) == [
        "epoch_0_step_19",
        "epoch_0_step_29",
        "epoch_0_step_39",
    ]
    assert sorted(path.name for path in (root / "stub-a.1").iterdir()) == ["agent.json", "exit.json", "plan.json"]
    assert (root / "stub-a.2" / "code" / "big.py").exists()  # the run has not finished: `resume` starts this one
    assert _items(cli)["items"] == []
    assert "its code was removed from" in cli.refused(2, ("resume", "stub-a.1"), "stub-a.1")
    assert json.loads(cli("status", "stub-a.1", "--json")[1])["state"] == "FAILED"


def test_age_state_size_and_number(cli: Cli) -> None:
    (cli.bench.root / "runs" / "stub-a" / "finished.json").write_text(json.dumps({"step": 40}))
    assert _names(_items(cli, "--older-than", "60d")) == {"stub-a.1"}
    assert _names(_items(cli, "--older-than", "200d")) == set()
    assert _names(_items(cli, "--state", "failed")) == {"stub-a.1"}
    assert _names(_items(cli, "--state", "completed,timeout")) == {"stub-a.2"}
    assert _names(_items(cli, "--larger-than", "90kB")) == {"epoch_0_step_9"}
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "stub-a.2", "epoch_0_step_9", "epoch_0_step_19"}
    assert _names(_items(cli, "--keep", "3")) == {"stub-a.1", "stub-a.2"}
    checkpoints = cli.bench.root / "runs" / "stub-a" / "checkpoints"
    (checkpoints / "LOWEST_VAL").symlink_to("epoch_0_step_9")
    (checkpoints / "epoch_0_step_1").mkdir()
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "stub-a.2", "epoch_0_step_19", "epoch_0_step_1"}
    (checkpoints / "LATEST.txt").write_text(f"{checkpoints}/epoch_0_step_19\n")
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "stub-a.2", "epoch_0_step_1"}
    readers = cli.bench.root / "runs" / "stub-a" / contract.READERS  # another run began from it
    readers.mkdir()
    (readers / "other.json").write_text(json.dumps({"run_name": "other", "checkpoint": "epoch_0_step_1"}))
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "stub-a.2"}
    for options, word in (
        (("--older-than", "soon"), "30d"),
        (("--larger-than", "much"), "20GB"),
        (("--keep", "0"), "one complete checkpoint stays"),
        (("--keep", "\u00b2"), "one complete checkpoint stays"),
        (("--older-than", "9" * 400 + "w"), "30d"),
        (("--state", "DONE"), "COMPLETED"),
        (("--state", ","), "COMPLETED"),
        (("--state", ""), "its value is empty"),
        (("nosuch",), "launch.py jobs"),
    ):
        cli.refused(2, ("prune", *options), word)


def test_the_best_of_a_run_whose_framework_leaves_no_link_stays(cli: Cli) -> None:
    """By its metrics; Megatron-Bridge has no LOWEST_VAL. An incomplete one is not the best, the later of two is."""
    losses = {9: 2.0, 19: 2.0, 29: 3.0, 39: 1.0}
    lines = [{"step": step, "loss": 5.0, "time": float(step)} for step in losses]
    lines += [{"step": step, "val_loss": loss, "time": float(step)} for step, loss in losses.items()]
    metrics = cli.bench.root / "runs" / "stub-a.2" / contract.METRICS
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "epoch_0_step_9"}
    metrics.write_text(metrics.read_text().replace('"val_loss": 2.0, "time": 9.0', '"val_loss": 1.5, "time": 9.0'))
    assert _names(_items(cli, "--keep", "1")) == {"stub-a.1", "epoch_0_step_19"}


def test_a_run_that_has_a_job_that_is_not_over_is_left_alone(cli: Cli) -> None:
    _job(cli, 3, 0, state=None)  # of which nothing is known
    found = _items(cli, "--older-than", "0d")
    assert found["items"] == []
    assert [kept["what"] for kept in found["kept"]] == ["stub-a"]
    assert "stub-a.3 is" in found["kept"][0]["why"]


def test_a_run_that_another_launcher_has_claimed_is_left_alone(cli: Cli) -> None:
    claims = cli.bench.root / "runs" / "stub-a" / "claims"
    claims.mkdir()
    (claims / "1").write_text("of another version")
    found = _items(cli)
    assert found["items"] == []
    assert "was claimed by another user" in found["kept"][0]["why"]


def test_nothing_behind_a_link_is_looked_at_or_removed(cli: Cli, tmp_path: Path) -> None:
    """Logs of one job, the code of the other, and a whole folder of checkpoints, lie elsewhere."""
    root = cli.bench.root / "runs"
    (root / "stub-a" / "finished.json").write_text(json.dumps({"step": 40}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "stub-a.1" / "code").rename(elsewhere / "code")
    (root / "stub-a.1" / "code").symlink_to(elsewhere / "code")
    (root / "stub-a.2" / "logs" / "out").symlink_to(elsewhere)
    (root / "stub-a" / "checkpoints").rename(elsewhere / "checkpoints")
    (root / "stub-a" / "checkpoints").symlink_to(elsewhere / "checkpoints")
    found = _items(cli, "--keep", "1", "--yes")
    assert {kept["why"] for kept in found["kept"]} == {"it is a link", "a link above it leads elsewhere"}
    assert _names(found) == {"stub-a.1", "stub-a.2"}
    assert (elsewhere / "code" / "big.py").exists()
    assert len(list((elsewhere / "checkpoints").iterdir())) == 4
    assert (root / "stub-a.1" / "code").is_symlink() and not (root / "stub-a.1" / "logs").exists()
    assert not (root / "stub-a.2" / "logs").exists()


def test_a_run_without_a_complete_checkpoint_keeps_its_checkpoints(cli: Cli) -> None:
    for folder in (cli.bench.root / "runs" / "stub-a" / "checkpoints").iterdir():
        (folder / ".incomplete").touch()
    assert _names(_items(cli)) == {"stub-a.1", "stub-a.2"}


def test_a_job_that_begins_meanwhile_stops_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from automodel_launch.reproduce import prune

    look = prune.look

    def slow(*args: Any) -> Any:
        found = look(*args)
        claims = cli.bench.root / "runs" / "stub-a" / "claims"
        claims.mkdir()
        (claims / "1").write_text("of another launcher")
        return found

    monkeypatch.setattr(prune, "look", slow)
    before = cli.files()
    code, _, err = cli("prune", "--yes")
    assert (code, "not removed: stub-a.1" in err) == (1, True)
    assert [path for path in before if not path.exists()] == []


def test_a_job_that_begins_while_files_are_taken_away_has_them_back(cli: Cli) -> None:
    """Its launcher claims the run after prune has looked; or its agent, of which no launcher knows, holds the lock."""
    from automodel_launch.reproduce import disk

    root, run = cli.bench.root / "runs", cli.bench.root / "runs" / "stub-a"
    wanted = [(str(root / "stub-a.1"), name) for name in ("code", "logs")]
    before = cli.files()
    (run / "claims").mkdir()
    (run / "claims" / "1").touch()
    assert not disk.remove(LOCAL, str(run), None, wanted)
    (run / "lock").touch()
    with (run / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not disk.remove(LOCAL, str(run), 1, wanted)
    shell = _claiming(run)  # between the first look at the claims and the second one
    assert not disk.remove(shell, str(run), 1, wanted)
    assert [path for path in before if not path.exists()] == []
    assert not list(root.rglob(".removed-*"))
    assert disk.remove(LOCAL, str(run), 2, wanted)
    assert not [path for base, name in wanted if (path := Path(base, name)).exists()]


def _claiming(run: Path) -> RemoteFileSystem:
    """A place whose `mv` claims the run, as another launcher would in that moment."""
    bin_ = run / "bin"
    bin_.mkdir()
    (bin_ / "mv").write_text(f'#!/bin/bash\ntouch {run}/claims/2\nexec /bin/mv "$@"\n')
    (bin_ / "mv").chmod(0o755)

    class Busy(LocalShell):
        def run(self, script: str, data: bytes = b"", timeout: float = 60.0) -> Done:
            return super().run(f"PATH={bin_}:$PATH\n{script}", data, timeout)

    return RemoteFileSystem(Busy())


def test_what_a_killed_prune_has_left_is_removed_by_the_next(cli: Cli) -> None:
    root = cli.bench.root / "runs"
    (root / "stub-a.1" / "code").rename(root / "stub-a.1" / ".removed-code")
    checkpoints = root / "stub-a" / "checkpoints"
    (checkpoints / "epoch_0_step_9").rename(checkpoints / ".removed-epoch_0_step_9")
    assert "its code was removed from" in cli.refused(2, ("resume", "stub-a.1"), "stub-a.1")
    assert _names(_items(cli, "--yes")) == {"stub-a.1", ".removed-epoch_0_step_9"}
    assert not list(root.rglob(".removed-*"))


@pytest.mark.parametrize("path", ["readers/other.json", "checkpoints/LATEST.txt", "finished.json"])
def test_a_file_that_cannot_be_read_may_name_any_checkpoint(cli: Cli, path: str) -> None:
    """A link to nowhere, as root reads whatever its mode says."""
    file = cli.bench.root / "runs" / "stub-a" / path
    file.parent.mkdir(exist_ok=True)
    file.symlink_to("/no/such/file")
    found = _items(cli)
    assert found["items"] == []
    assert f"{file} cannot be read" in found["kept"][0]["why"]


def test_nor_is_anything_known_of_what_a_config_needs_that_cannot_be_read(cli: Cli) -> None:
    other = cli.bench.root / "runs" / "other.1"
    (other / "config.yaml").mkdir(parents=True)
    words = {"job_id": "other.1", "run_name": "other", "job_dir": str(other), "run_dir": str(other.parent / "other")}
    records.save(cli.bench.workspace.records, _record(cli, 1, **words))
    found = _items(cli, "stub-a")
    assert found["items"] == []
    assert f"{other}/config.yaml cannot be read" in found["kept"][0]["why"]


def test_what_a_config_names_by_way_of_a_sweeps_best_point_stays(cli: Cli) -> None:
    """Which run that is, may be another one when the job begins again: so of every run it stays."""
    other = cli.bench.root / "runs" / "other.1"
    other.mkdir(parents=True)
    best = cli.bench.root / "runs" / "rates" / "best-0f8e2451"
    (other / "config.yaml").write_text(f"begin: {best}/checkpoints/epoch_0_step_9\n")
    (other / "exit.json").write_text(json.dumps({"state": "FAILED", "code": 1, "ended": time.time()}))
    words = {"job_id": "other.1", "run_name": "other", "job_dir": str(other), "run_dir": str(other.parent / "other")}
    records.save(cli.bench.workspace.records, _record(cli, 1, **words))
    assert "epoch_0_step_9" not in _names(_items(cli)) and "stub-a.1" in _names(_items(cli))
    (other / "config.yaml").write_text(f"begin: {best}/checkpoints/epoch_0_step_90\n")
    assert "epoch_0_step_9" in _names(_items(cli))


def test_what_the_points_of_a_sweep_share_goes_with_the_last_of_them(cli: Cli) -> None:
    root = cli.bench.root / "runs"
    shared = root / "s.1"
    (shared / "code").mkdir(parents=True)
    (shared / "code" / "big.py").write_bytes(b"x" * 50_000)
    jobs = [root / "s-a.1", root / "s-b.1"]
    (shared / "jobs").write_text("".join(f"{job}\n" for job in jobs))
    for job, days in zip(jobs, (100, 5), strict=True):
        job.mkdir()
        (job / "script").write_text("exec\n")
        (job / "code").symlink_to(shared / "code")
        end = {"state": "COMPLETED", "code": 0, "ended": time.time() - days * DAY}
        (job / "exit.json").write_text(json.dumps(end))
        words = {"job_id": job.name, "run_name": job.name[:3], "job_dir": str(job), "run_dir": str(job)[:-2]}
        record = _record(cli, 1, **words)
        records.save(cli.bench.workspace.records, replace(record, handle={**record.handle, "array": str(shared)}))
    assert _names(_items(cli, "s-a", "s-b", "--yes")) == {"s-a.1"}
    assert (shared / "code").exists() and not (jobs[0] / "script").exists()
    found = _items(cli, "s-a", "--older-than", "1d")
    assert found["items"] == []  # the other one is needed still, whichever was named
    found = _items(cli, "s-a", "s-b", "--older-than", "1d")
    assert [(item["kind"], item["paths"]) for item in found["items"]] == [
        ("job", [f"{jobs[1]}/script"]),
        ("code", [f"{shared}/code"]),
    ]
    assert found["items"][1]["bytes"] >= 50_000
    assert _names(_items(cli, "s-b", "--older-than", "1d", "--yes")) == {"s-b.1", "code"}
    assert (shared / "jobs").exists() and not (shared / "code").exists()
    assert _items(cli, "s-a", "s-b", "--older-than", "1d")["items"] == []


def test_names_of_any_kind(cli: Cli) -> None:
    odd = cli.bench.root / "runs" / "stub-a.1" / "a b'; touch $HOME\n"
    odd.mkdir()
    (odd / "f").write_text("x")
    assert _names(_items(cli, "--yes")) == {"stub-a.1", "epoch_0_step_9"}
    assert not odd.exists()
    assert os.listdir(cli.bench.root / "runs" / "stub-a.2")  # noqa: PTH208 (any name)
    assert records.all_records(cli.bench.workspace.records)


def test_what_a_longer_run_and_other_runs_still_need_stays(cli: Cli) -> None:
    """A run that had finished was made longer and failed; its last job was never submitted."""
    root = cli.bench.root / "runs"
    run = root / "stub-a"
    (run / "hf").symlink_to("checkpoints/epoch_0_step_9/model")
    (run / "finished.json").write_text(json.dumps({"step": 10}))
    records.save(cli.bench.workspace.records, _record(cli, 2, max_steps=40))
    assert _names(_items(cli)) == {"stub-a.1"}
    lost = _record(cli, 2, job_id="stub-a.3", job_dir=str(root / "stub-a.3"), submitted=time.time() - 40 * DAY)
    end = {"state": records.NOT_SUBMITTED, "ended": time.time() - 40 * DAY}
    records.save(cli.bench.workspace.records, replace(lost, end=end))
    assert "stub-a.2" not in _names(_items(cli))
    (run / "hf").unlink()
    assert _names(_items(cli)) == {"stub-a.1", "epoch_0_step_9"}
    other = root / "other.1"  # it reads the checkpoint by its path, and has not ended well
    other.mkdir()
    (other / "config.yaml").write_text("model: {path: /mounted/stub-a/checkpoints/epoch_0_step_9/model}\n")
    failed = {"job_id": "other.1", "run_name": "other", "job_dir": str(other), "run_dir": str(root / "other")}
    records.save(cli.bench.workspace.records, _record(cli, 1, **failed))
    assert _names(_items(cli, "stub-a")) == {"stub-a.1"}


def test_a_job_whose_end_nobody_wrote_down_is_as_old_as_its_files(cli: Cli) -> None:
    """It was submitted long ago and killed with its agent; the last line of its log tells when it lived."""
    root = cli.bench.root / "runs"
    (root / "stub-a" / "finished.json").write_text(json.dumps({"step": 40}))
    for number in (1, 2):
        (root / f"stub-a.{number}" / "exit.json").write_text(json.dumps({"state": "FAILED", "code": 1}))
        records.save(cli.bench.workspace.records, _record(cli, number, submitted=time.time() - 90 * DAY))
    assert _items(cli)["items"] == []
    for path in (root / "stub-a.1").rglob("*"):
        os.utime(path, (0, 0))
    assert _names(_items(cli)) == {"stub-a.1"}


def _record(launch: Cli, number: int, **changes: Any) -> records.Record:  # noqa: F811
    found = records.find(launch.bench.workspace.records, f"stub-a.{number}")
    return replace(found, **changes)
