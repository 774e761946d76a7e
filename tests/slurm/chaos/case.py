"""One fault on one run: what its kind needs to start the run and to strike, and the way to the run's end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.slurm import learner
from tests.slurm.chaos import truth
from tests.slurm.chaos.place import Place
from tests.slurm.chaos.tally import LIE, LOST, Finding
from tests.slurm.chaos.witness import Witness
from tests.slurm.cluster import wait_until
from tests.slurm.test_chain import Run

ENDS_S = 240.0  # a run needs for its end, once all is well again
COMMAND_S = 120.0


class ChaosRun(Run):
    """As Run, of a job that was submitted already."""

    def __init__(self, case: Case, row: dict[str, Any]) -> None:
        self.site, self.config = case.place.site, case.config
        self.id = str(row["job_id"])
        self.dir, self.run_dir = Path(row["job_dir"]), Path(row["run_dir"])

    def history(self, event: str) -> list[dict[str, Any]]:
        """The job's own; none before the run has begun."""
        found = super().history(event) if (self.run_dir / "history.jsonl").exists() else []
        return [entry for entry in found if entry["job_id"] == self.id]


class Case:
    """`rng` decides what the kind leaves open; `told` says what it has decided."""

    def __init__(self, place: Place, number: int, rng: Random) -> None:
        self.place, self.number, self.rng = place, number, rng
        self.cluster, self.site, self.commands = place.cluster, place.site, place.commands
        self.witness = Witness(place)
        self.found: list[Finding] = []
        self.told: list[str] = []
        self.config: dict[str, Any] = {**learner.CONFIG, "steps": 60}
        self.overrides: list[str] = []
        self.recipe, self.profile = "learner", "chain"
        self.processes: list[subprocess.Popen[str]] = []
        self.run: ChaosRun | None = None

    # What kinds use

    def say(self, text: str) -> None:
        """Note a detail that was drawn."""
        self.told.append(text)

    def find(self, heading: str, what: str) -> None:
        """Note what is wrong."""
        self.found.append(Finding(heading, what))

    def settings(self, **values: Any) -> None:
        """Keys of the training's config."""
        self.config |= values

    def command(self, mode: str = "--batch") -> list[str]:
        """The launch of this fault's run."""
        keys = [f"{key}={value}" for key, value in self.config.items() if value != learner.CONFIG[key]]
        return [self.recipe, mode, self.profile, "--name", f"run-{self.number}", *keys]

    def start(self, step: int | None = None) -> ChaosRun:
        """Launch the run, and wait until it has come to a step that is drawn, unless it is given."""
        done = self.launch(*self.command(), "--json")
        if done.returncode:
            raise TimeoutError(f"the launch failed with code {done.returncode}: {done.stderr[-400:]}")
        self.run = ChaosRun(self, json.loads(done.stdout))
        self.reach(self.rng.randint(5, 20) if step is None else step)
        return self.run

    def reach(self, step: int, attempt: int = 0) -> None:
        """Wait for a step of an attempt."""
        self.say(f"at step {step}")
        assert self.run
        self.run.reach(attempt, step)

    def launch(self, *args: str, timeout: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
        """A command of the launcher that has to end, and without a traceback."""
        try:
            done = self.site.run(*args, timeout=timeout)
        except subprocess.TimeoutExpired:
            self.find(LIE, f"`{' '.join(args[:3])}` does not end within {timeout:.0f} s")
            return subprocess.CompletedProcess(args, 124, "", "")
        self._is_plain(args, done.stderr)
        return done

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """A command in the background, in a process group of its own: as in a terminal that can be closed."""
        log = self.place.root / f"out-{len(self.processes)}"
        with log.open("w") as out:
            process = subprocess.Popen(
                self.site.command(*args), cwd=self.site.root, env=self.site.environ, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, text=True, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[str], timeout: float = COMMAND_S) -> int:
        """The exit code of a command in the background, which has to end by itself."""
        words = [str(word) for word in process.args][2:5] if isinstance(process.args, list) else []
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.find(LIE, f"`{' '.join(words)}` does not end within {timeout:.0f} s: {self.output(process)[-300:]}")
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()
        self._is_plain(words, self.output(process))
        return code

    def output(self, process: subprocess.Popen[str]) -> str:
        """What a command in the background has said."""
        return (self.place.root / f"out-{self.processes.index(process)}").read_text(errors="replace")

    def _is_plain(self, args: Any, said: str) -> None:
        if "Traceback" in said:
            self.find(LIE, f"`{' '.join(args[:3])}` ends with a traceback: {' '.join(said.split())[-300:]}")

    def rows(self) -> list[dict[str, Any]]:
        """What `jobs` shows."""
        done = self.launch("jobs", "--json")
        found = json.loads(done.stdout) if done.returncode == 0 else []
        return [row for row in found if isinstance(row, dict)]

    def adopt(self) -> ChaosRun | None:
        """The run that a launcher has started which did not live to tell; None where nothing was submitted."""
        submitted = [row for row in self.rows() if row["state"] not in ("NOT_SUBMITTED", "SUBMITTING")]
        self.run = ChaosRun(self, submitted[-1]) if submitted else None
        return self.run

    def jobs(self) -> list[truth.SlurmJob]:
        """Slurm's jobs of this fault."""
        jobs = truth.slurm_jobs(self.place) or []
        return [job for job in jobs if Path(job.directory).parent == self.place.jobs]

    def live(self) -> list[truth.SlurmJob]:
        """Those that wait or run."""
        return [job for job in self.jobs() if job.lives]

    def wait(self, least: float, most: float) -> float:
        """For a while that is drawn."""
        seconds = round(self.rng.uniform(least, most), 1)
        self.say(f"for {seconds} s")
        time.sleep(seconds)
        return seconds

    def until(self, condition: Any, timeout: float, what: str) -> bool:
        """Wait for something that need not come."""
        try:
            wait_until(condition, timeout, what)
        except TimeoutError:
            return False
        return True

    def resume(self) -> subprocess.CompletedProcess[str]:
        """A person has the run go on."""
        assert self.run
        self.witness.resumed[str(self.run.dir)] = time.time()
        return self.launch("resume", self.run.id)

    def lost(self, what: str) -> None:
        """The run did not go on to its end."""
        self.find(LOST, what)
