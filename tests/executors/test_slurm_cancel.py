"""Cancelling on Slurm: which job is ended and how, with fakes of squeue and scancel that note their calls."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from automodel_launch import executors
from automodel_launch.errors import ClusterError, JobError
from automodel_launch.jobs.records import Record

DOWN = "Unable to contact slurm controller (connect failure)"


@dataclass
class Site:
    """A job's and its run's directory, and Slurm's commands."""

    root: Path

    @property
    def record(self) -> Record:
        job, run = str(self.root / "a.1"), str(self.root / "a")
        handle = {"slurm_id": "5", "stop_grace": 60}
        return Record("a.1", "a", "stub", "default", "c", "slurm", "run", job, run, "hash", 1.0, None, handle)

    def says(self, name: str, script: str) -> None:
        """Have a command of Slurm's do this."""
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.root}/calls\n{script}\n')
        path.chmod(0o755)

    def queue(self, directory: str, steps: str = "5.batch", id: str = "5", comment: str = "mine") -> None:
        """What squeue knows: a job's script and comment, and its steps."""
        job = f"{id}|{directory}/script|/|any name|{comment}"
        self.says("squeue", f'case " $* " in *SUSPENDED*) ;; *" -s "*) echo "{steps}";; *) echo "{job}";; esac')

    def cancel(self, now: bool = False) -> str | None:
        """Cancel, as the executor does."""
        return executors.get("slurm").cancel(self.record, now=now)

    @property
    def ended(self) -> list[str]:
        """The calls of scancel."""
        calls = (self.root / "calls").read_text().splitlines()
        return [call for call in calls if call.startswith("scancel")]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("bin", "a", "a.1"):
        (tmp_path / name).mkdir()
    site = Site(tmp_path)
    site.says("scancel", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return site


def test_where_a_step_runs_it_may_save(site: Site) -> None:
    site.queue(site.record.job_dir, steps="5.batch\n5.0")
    assert site.cancel() is None
    assert site.ended == ["scancel --signal=TERM 5"]
    assert (site.root / "a.1" / "stop").read_text() == "cancel\n"


def test_what_waits_is_just_taken_out_of_the_queue(site: Site) -> None:
    (site.root / "a.1" / "secrets.env").touch()
    site.queue(site.record.job_dir, steps="")
    assert site.cancel() is None
    assert site.ended == ["scancel 5"]
    assert not (site.root / "a.1" / "secrets.env").exists()


def test_a_renamed_job_is_known_by_its_script_and_any_other_by_its_name(site: Site) -> None:
    """Slurm's ids are used again, and a person may rename a job; an earlier version's has its directory as comment."""
    site.queue(site.record.job_dir)  # whatever its name
    site.cancel(now=True)
    site.queue(".", comment=site.record.job_dir)
    site.cancel(now=True)
    site.queue("/elsewhere/a.1")
    site.cancel(now=True)
    known = "scancel --signal=KILL --full 5"
    assert site.ended == [known, known, "scancel --signal=KILL --full --name=a.1 5"]


def test_where_squeue_fails_a_job_may_save_all_the_same(site: Site) -> None:
    """Slurm's own KillWait would end it after 30 s."""
    site.says("squeue", "exit 1")
    assert site.cancel() is None
    assert site.ended == ["scancel --state=PENDING --name=a.1 5", "scancel --signal=TERM --name=a.1 5"]


def test_the_next_attempt_of_a_chain_goes_first(site: Site) -> None:
    (site.root / "a.1" / "chain").write_text("6 7 1\n")
    job = site.record.job_dir
    jobs = f"6|{job}/script|\\n7|{job}/script|\\n"
    site.says("squeue", f'case " $* " in *SUSPENDED*) ;; *" -s "*) echo 6.0;; *) printf "{jobs}";; esac')
    site.cancel()
    assert site.ended == ["scancel 7", "scancel --signal=TERM 6"]


@pytest.mark.parametrize("reserve", [True, False])
def test_a_chain_is_cancelled_on_a_full_disk(site: Site, reserve: bool) -> None:
    """By a signal alone it would go on. Its reserve has room for the stop file; else Slurm ends it as a whole."""
    (site.root / "a.1" / "chain").write_text("5 9 0\n")
    (site.root / "a.1" / ".reserve").touch()
    (site.root / "a.1" / "stop").symlink_to("room/stop")  # which cannot be made before there is room
    room = f"mkdir {site.root}/a.1/room" if reserve else ":"
    site.says("rm", f'case "$*" in *.reserve*) {room} ;; esac; exec /bin/rm "$@"')
    site.queue(site.record.job_dir, steps="5.batch\n5.0")
    assert site.cancel() is None
    assert site.ended == ["scancel --name=a.1 9", "scancel --signal=TERM 5" if reserve else "scancel 5"]
    assert (site.root / "a.1" / "stop").exists() == reserve and not (site.root / "a.1" / ".reserve").exists()


def test_a_job_without_a_directory_is_ended_as_a_whole(site: Site) -> None:
    """Its batch script, which misses its files, would otherwise make a failure of it."""
    site.queue(site.record.job_dir, steps="5.batch\n5.0")
    (site.root / "a.1").rmdir()
    site.cancel()
    (site.root / "a").rmdir()
    site.cancel()
    assert site.ended == ["scancel --signal=TERM 5", "scancel 5"]  # while the run is there, it may save there


def test_without_slurm_the_stop_file_ends_the_job_and_that_is_said(site: Site) -> None:
    for name in ("squeue", "scancel"):
        site.says(name, f"echo '{name}: error: {DOWN}' >&2; exit 1")
    told = site.cancel()
    assert (site.root / "a.1" / "stop").exists()
    assert "stop file within seconds" in str(told)
    assert "60 s" in str(told)
    assert "`cancel --now` again" in str(site.cancel(now=True))
    (site.root / "a.1" / "stop").unlink()
    (site.root / "a.1").rmdir()
    with pytest.raises(ClusterError, match="could not be cancelled"):
        site.cancel()


def test_what_slurm_does_not_know_is_an_error(site: Site) -> None:
    site.says("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    site.says("scancel", "echo 'scancel: error: Kill job error on job id 5: Invalid job id specified' >&2; exit 1")
    with pytest.raises(JobError, match="no job 5"):
        site.cancel()


def test_a_next_attempt_that_has_not_begun_is_all_there_is_to_end(site: Site) -> None:
    """A resumed job of a chain: Slurm has forgotten the attempt before."""
    (site.root / "a.1" / "chain").write_text("5 9 0\n")
    site.queue(site.record.job_dir, id="9")
    unknown = "echo 'scancel: error: Kill job error on job id 5: Invalid job id specified' >&2; exit 1"
    site.says("scancel", f'case " $* " in *" 5 "*) {unknown} ;; esac')
    assert site.cancel() is None
    assert site.ended == ["scancel 9", "scancel --name=a.1 5"]


def test_a_job_that_ends_just_now_is_no_error(site: Site) -> None:
    site.queue(site.record.job_dir, steps="5.0")
    site.says(
        "scancel",
        "echo 'scancel: error: Kill job error on job id 5: Job/step already completing or completed' >&2; exit 1",
    )
    assert site.cancel() is None
