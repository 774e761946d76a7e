"""Asks the launcher all the time what it thinks of its jobs, and compares that with the truth just before and after."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from itertools import count
from typing import Any

from tests.slurm.chaos import truth
from tests.slurm.chaos.place import Place
from tests.slurm.chaos.tally import LIE, LOST, Finding

POLL_S = 2.0
POLLS = 2  # so often a state may be false
HANGS_S = 120.0


class Witness:
    """Runs in a thread from `start` to `end`. What it finds is said once, until it was true again."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._false: Counter[str] = Counter()
        self.found: list[Finding] = []
        self.resumed: dict[str, float] = {}  # by job directory
        self.launching = False  # a launcher of this fault is still at work
        self.torn: set[str] = set()  # jobs whose record was torn: it may only be named
        self.polls = 0

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def end(self) -> list[Finding]:
        """Stop asking; what was found."""
        self._over.set()
        self._thread.join(HANGS_S + 30)
        return self.found

    def _watch(self) -> None:
        for number in count():
            began = time.monotonic()
            self._poll(number)
            if self._over.wait(max(0.2, POLL_S - (time.monotonic() - began))):
                return

    def _poll(self, number: int) -> None:
        before = truth.snapshot(self._place)
        done, rows = self._ask("jobs")
        if rows and number % 2:  # the other command that people look at
            row = rows[number // 2 % len(rows)]
            done, one = self._ask("status", row["job_id"])
            rows = one or []
        after = truth.snapshot(self._place)
        self.polls += 1
        self._answered(done, rows, before.blind or after.blind)
        for row in rows or []:
            self._compare(row, before, after)
        if rows is not None and "jobs" in done.args and not (before.blind or after.blind):
            self._strangers(rows, before, after)

    def _ask(self, *args: str) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]] | None]:
        """What a command says, as rows; None where it is no data."""
        try:
            done = self._place.site.run(*args, "--json", timeout=HANGS_S)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(
                args, 124, "", f"{' '.join(args)}: no answer within {HANGS_S:.0f} s"
            ), None
        try:
            data = json.loads(done.stdout)
        except ValueError:
            return done, None
        rows = data if isinstance(data, list) else [data]
        return done, [row for row in rows if isinstance(row, dict) and "state" in row and "job_id" in row]

    def _answered(self, done: subprocess.CompletedProcess[str], rows: list[Any] | None, blind: bool) -> None:
        words = " ".join(map(str, done.args[-3:]))
        said = " ".join(done.stderr.split())[-300:]
        if "Traceback" in done.stderr:
            self._say("traceback", Finding(LIE, f"`{words}` ends with a traceback: {said}"), at_once=True)
        failed = rows is None or done.returncode
        self._count("failed", bool(failed) and not blind and not self.torn, Finding(LIE, f"`{words}` fails: {said}"))

    def _compare(self, row: dict[str, Any], before: truth.Snapshot, after: truth.Snapshot) -> None:
        job_dir, run_dir, said = str(row["job_dir"]), str(row.get("run_dir")), str(row["state"])
        since = self.resumed.get(job_dir, 0.0)
        views = [moment.view(job_dir, run_dir, since, self.launching) for moment in (before, after)]
        allowed = views[0].allowed | views[1].allowed
        slurm = [f"{job.id} {job.state} ({job.reason})" for job in views[1].slurm or []]
        own = views[1].exit or {}
        written = {key: own.get(key) for key in ("state", "complete", "goes_on")}
        detail = f"Slurm has {slurm}, exit.json {written}"
        told = f"{row['job_id']} is called {said} ({row.get('error')}); true would be {sorted(allowed)}: {detail}"
        self._count(f"state {job_dir}", said not in allowed, Finding(LIE, told))
        finished = views[1].finished or not views[1].exit  # hidden
        self._count(f"end {job_dir}", said == "COMPLETED" and not finished, Finding(LIE, f"{told}; no finished.json"))

    def _strangers(self, rows: list[dict[str, Any]], before: truth.Snapshot, after: truth.Snapshot) -> None:
        known = {str(row["job_dir"]) for row in rows} | self.torn
        there = {job.id for job in before.slurm or []}
        found = [job for job in truth.strangers(self._place, known, after.slurm or []) if job.id in there]
        what = f"`jobs` shows no record of Slurm job {[f'{j.id} {j.state} {j.name}' for j in found]}"
        self._count("stranger", bool(found), Finding(LOST, what))

    def _count(self, key: str, is_false: bool, finding: Finding) -> None:
        """A word that is false for more than two polls is a lie."""
        self._false[key] = self._false[key] + 1 if is_false else 0
        if self._false[key] == POLLS + 1:
            self._say(key, finding)

    def _say(self, key: str, finding: Finding, at_once: bool = False) -> None:
        if not at_once or not self._false[key]:
            self.found.append(finding)
        if at_once:
            self._false[key] += 1
