"""`on_checkpoint`, where it runs: which checkpoints get a job, once each, and what is told of one that got none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import contract
from checkpoint_lib import evaluations
from node_agent_lib import chain, on_checkpoint

from tests.recipes.chain_site import Site

NAMES = [f"epoch_0_step_{step}" for step in (9, 19, 109)]


class Trained(Site):
    """A job with a template, whose run has saved three checkpoints, the last one not to its end."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, None)
        self.folder = self.run / "checkpoints"
        spec = json.loads((self.job / "agent.json").read_text())
        spec |= {"checkpoint_dir": str(self.folder), "backend": "automodel"}
        (self.job / "agent.json").write_text(json.dumps(spec))
        for name in NAMES:
            (self.folder / name).mkdir(parents=True)
        (self.folder / NAMES[-1] / contract.INCOMPLETE).touch()
        (self.job / "code" / "recipes").mkdir(parents=True)
        (self.job / "code" / "recipes" / "evaluate.py").touch()
        (self.job / contract.SECRETS).write_text("TOKEN=secret\n")
        template, job_dir = self.job / contract.ON_CHECKPOINT, f"{self.job.parent}/a-{contract.THIS_CHECKPOINT}.1"
        template.mkdir()
        order = {"job_dir": job_dir, "secrets_file": f"{job_dir}/{contract.SECRETS}"}
        (template / contract.AGENT).write_text(json.dumps(order))
        (template / contract.SCRIPT).write_text(f"cd {job_dir}\n")
        (template / contract.CONFIG).write_text(f"restore_from: {self.folder}/{contract.THIS_CHECKPOINT}\nä: 1\n")
        self.said: list[str] = []

    @property
    def submitted(self) -> list[str]:
        return [line for line in self.calls if line.startswith("sbatch")]

    def look(self, before: set[str]) -> set[str]:
        orders = chain.order(str(self.job))
        assert orders is not None
        return on_checkpoint.look(orders, before, self.said.append)

    def last_look(self) -> None:
        on_checkpoint.last_look(str(self.job), self.said.append)

    def evaluation(self, name: str) -> Path:
        return self.job.parent / f"a-{name}.1"

    def told(self, name: str) -> dict[str, Any]:
        found = evaluations.job(self.folder / name)
        assert found is not None
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    made = Trained(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.setattr(on_checkpoint, "_BETWEEN_S", 0.0)
    return made


def test_each_complete_checkpoint_has_one_job_with_its_name_in_the_marks_place(site: Trained) -> None:
    seen = site.look(set())
    assert site.submitted == []  # a save makes its directory before its mark: complete twice is complete
    for _ in range(3):
        seen = site.look(seen)
    site.last_look()
    scripts = [site.evaluation(name) / contract.SCRIPT for name in NAMES[:2]]
    assert site.submitted == [f"sbatch --parsable {script}" for script in scripts]
    for name, script in zip(NAMES, scripts, strict=False):
        assert script.read_text() == f"cd {script.parent}\n"
        assert (script.parent / contract.CONFIG).read_text() == f"restore_from: {site.folder}/{name}\nä: 1\n"
        assert (script.parent / "code" / "recipes" / "evaluate.py").is_file()
        secrets = script.parent / contract.SECRETS
        assert secrets.read_text() == "TOKEN=secret\n" and stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert [site.told(name)["slurm_id"] for name in NAMES[:2]] == ["77", "78"]
    assert evaluations.job(site.folder / NAMES[2]) is None


def test_two_who_look_at_once_submit_one(site: Trained) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(on_checkpoint.__file__).parents[1])!r})\n"
        f"from node_agent_lib import on_checkpoint; on_checkpoint.last_look({str(site.job)!r})"
    )
    looks = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [look.wait() for look in looks] == [0, 0, 0]
    assert len(site.submitted) == len(set(site.submitted)) == 2


def test_what_is_evaluated_is_left_alone(site: Trained) -> None:
    (site.folder / contract.EVALUATIONS).mkdir()
    (site.folder / contract.EVALUATIONS / f"{NAMES[0]}.json").write_text('{"results": []}')
    site.last_look()
    assert [Path(line.split()[-1]).parent.name for line in site.submitted] == [f"a-{NAMES[1]}.1"]


def test_a_refusal_is_told_and_leaves_nothing_of_the_job(site: Trained) -> None:
    site.says("sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    site.says("squeue", ":")
    seen = site.look(set())
    site.look(seen)
    assert len(site.submitted) == 3  # tries, of the first one
    site.look(seen)
    assert len(site.submitted) == 6
    told = site.told(NAMES[0])
    assert told["state"] == evaluations.REFUSED and "QOSMaxSubmitJobPerUserLimit" in told["error"]
    assert not site.evaluation(NAMES[0]).exists()
    site.look(seen)
    site.last_look()
    assert len(site.submitted) == 6


def test_the_jobs_end_does_not_wait_for_a_slurm_that_is_away(site: Trained) -> None:
    site.says("sbatch", "echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    site.says("squeue", ":")
    site.last_look()
    assert len(site.submitted) == 1 and evaluations.job(site.folder / NAMES[1]) is None


@pytest.mark.parametrize(
    ("queue", "state", "slurm_id"),
    [
        ("echo '81|{script}|{job}|x'", contract.PENDING, "81"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", contract.UNKNOWN, None),
    ],
)
def test_what_slurm_may_have_taken_is_never_submitted_again(
    site: Trained, queue: str, state: str, slurm_id: str | None
) -> None:
    job = site.evaluation(NAMES[0])
    site.says("sbatch", "echo 'Socket timed out on send/recv operation' >&2; exit 1")
    site.says("squeue", queue.format(script=job / contract.SCRIPT, job=job))
    (site.folder / NAMES[1] / contract.INCOMPLETE).touch()
    site.look(site.look(set()))
    assert len(site.submitted) == 1 and job.is_dir()
    assert (site.told(NAMES[0])["state"], site.told(NAMES[0])["slurm_id"]) == (state, slurm_id)
    (job / contract.CHAIN).touch()  # Slurm had taken it
    assert site.told(NAMES[0])["state"] == contract.RUNNING


def test_a_full_disk_leaves_no_part_of_a_job(site: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, text: str) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(on_checkpoint, "write_text", full)
    site.last_look()
    assert site.submitted == [] and not site.evaluation(NAMES[0]).exists()
    told = site.told(NAMES[0])
    assert told["state"] == evaluations.REFUSED and "No space left" in told["error"]


def _no_template(site: Trained) -> None:
    (site.job / contract.ON_CHECKPOINT / contract.AGENT).write_text("{")


def _no_secrets(site: Trained) -> None:
    (site.job / contract.SECRETS).unlink()


def _taken(site: Trained) -> None:
    for name in NAMES:
        site.evaluation(name).mkdir()


def _no_sbatch(site: Trained) -> None:
    (site.bin / "sbatch").unlink()
    site.says("squeue", ":")


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (_no_template, "not evaluated"),
        (_no_secrets, "is gone"),
        (_taken, "File exists"),
        (_no_sbatch, "on this node's"),
    ],
)
def test_whatever_is_odd_is_said_and_harms_nothing(
    site: Trained, odd: Callable[[Trained], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd(site)
    monkeypatch.setenv("PATH", f"{site.bin}:/nowhere" if odd is _no_sbatch else os.environ["PATH"])
    if odd is _no_sbatch:
        (site.bin / "squeue").write_text("#!/bin/sh\n")
    site.last_look()
    assert site.submitted == [] and any(words in line for line in site.said), site.said


def test_another_jobs_directory_tells_nothing_of_this_one(site: Trained) -> None:
    site.evaluation(NAMES[0]).mkdir()
    (site.evaluation(NAMES[0]) / contract.EXIT).write_text('{"state": "COMPLETED"}')
    site.last_look()
    told = site.told(NAMES[0])
    assert told["state"] == evaluations.REFUSED and "File exists" in told["error"] and not told["job_dir"]


def test_what_has_become_of_a_job(site: Trained) -> None:
    site.last_look()
    job = site.evaluation(NAMES[0])
    assert site.told(NAMES[0])["state"] == contract.PENDING
    (job / contract.CHAIN).touch()
    assert site.told(NAMES[0])["state"] == contract.RUNNING
    (job / contract.EXIT).write_text(json.dumps({"state": "FAILED", "error": "boom"}))
    assert (site.told(NAMES[0])["state"], site.told(NAMES[0])["error"]) == ("FAILED", "boom")
    marker = site.folder / contract.EVALUATIONS / f"{NAMES[0]}{contract.EVALUATION_JOB}"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "slurm_id": None}))
    for name in (contract.EXIT, contract.CHAIN):
        (job / name).unlink()
    assert site.told(NAMES[0])["state"] == contract.UNKNOWN
    assert site.told(NAMES[0])["error"] == "its submission was cut short"


def test_the_batch_script_starts_the_watch_only_where_there_is_something_to_submit(site: Trained) -> None:
    assert "watch" in site.call("begin", "5").stdout and on_checkpoint.shell_line(str(site.job))[0].endswith("&")
    (site.bin / "calls").unlink()
    (site.job / contract.ON_CHECKPOINT).rename(site.job / "elsewhere")
    assert on_checkpoint.shell_line(str(site.job)) == [] and on_checkpoint.main(str(site.job)) == 0
    site.last_look()
    assert site.calls == [] and site.said == []
    assert "watch" not in site.call("begin", "5").stdout
