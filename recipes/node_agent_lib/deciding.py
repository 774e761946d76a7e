"""What one keeper decides for all: has a node been lost, does a spare take its rank, is the Slurm job's work over?"""

from __future__ import annotations

import time
from typing import Callable

from . import chain, seats
from .batch_script import BatchScript
from .peers import Peers
from .replacing import Replacement, Why
from .seats import Report, Seats
from .silence import BEATS, Silence
from .spec import Spec

_AGENT_KILLED = "its agent was killed"
_KEEPER_GONE = "it ended too early"
_SILENT = "it gives no sign of life"
_NEVER_THERE_S = 60.0  # a keeper that has never been seen does not lead


class Decider:
    """Contract: `decide` is called all the time by a keeper that was not asked to stop."""

    def __init__(self, spec: Spec, host: str, hosts: list[str], silence: Silence, say: Callable[[str], None]) -> None:
        self.over = False  # nothing is left to do on this node
        self._spec, self._host, self._hosts, self._silence, self._say = spec, host, hosts, silence, say
        self._began = time.monotonic()
        self._script = BatchScript(spec.job_dir, hosts[0])
        self._looked_at = 0.0
        self._leads_since: float | None = None
        self._refused: tuple[int, str] | None = None
        self._unwritten: str | None = None  # why no further attempt can begin: its first one could not be written down

    def leads(self, now: Seats) -> bool:
        """Whether every keeper before this one, in Slurm's order, is gone."""
        before = self._hosts[: self._hosts.index(self._host)]
        return all(self._is_gone(host, now) for host in reversed(before))

    def is_alone(self, now: Seats) -> bool:
        """Whether nobody but this keeper can end the Slurm job: the batch script is lost. Asked at the keeper's end."""
        batch = self._hosts[0]
        if self._host == batch or self._host in now.lost or not self.leads(now):
            return False
        there = seats.read_report(self._spec.job_dir, batch)
        if there is not None and there.gone and there.attempt == now.attempt:  # it was there until now
            return False
        return self._script.is_lost()

    def decide(self, now: Seats) -> bool:
        """One look, where it is time for one; whether `now` may be out of date because of it."""
        if self.over or time.monotonic() - self._looked_at < self._silence.every_s / 2:
            return False
        self._looked_at = time.monotonic()
        leads = self.leads(now)
        if leads and self._leads_since is None:
            self._say("this keeper decides for all")
        self._leads_since = (self._leads_since or time.monotonic()) if leads else None
        if not leads:
            return False
        self._script.watch()
        if seats.latest(self._spec.job_dir, now) != now:  # what the agents of a former attempt do means nothing
            return True
        try:
            return self._look(now)
        except OSError as error:
            self._say(f"what becomes of attempt {now.attempt + 1} cannot be written down: {error}")
            return True

    def _look(self, now: Seats) -> bool:
        reports = {host: self._report(host, now) for host in now.nodes}
        lost = self._lost(now, reports)
        if self._is_undecided(now, lost):
            return False
        running = [host for host in now.nodes if host not in lost and reports[host].code is None]
        orders = chain.order(self._spec.job_dir)
        if orders is None or (running and not lost):
            return False
        if not lost and all(report.code == 0 for report in reports.values()):
            self._end(now)
            return True
        found = Replacement(orders, now, self._spec.nnodes, lost)
        spares = [host for host in now.spares if self._is_ready(host, now)]
        refused = self._unwritten or found.refusal(spares)
        if refused is None:
            self._carry_out(found, spares)
        elif running:
            self._give_up(now, lost, refused)
        else:
            self._say(f"the end of the job's last attempt here: {refused}")
            self._end(now)
        return True

    def _carry_out(self, found: Replacement, spares: list[str]) -> None:
        """On a full disk the job ends, as it does without spares."""
        try:
            found.carry_out(spares, self._say)
        except OSError as error:
            self._unwritten = f"it cannot be written down: {error}"

    def _give_up(self, now: Seats, lost: Why, refused: str) -> None:
        """The others cannot go on without it: their agents end, as where Slurm has ended the job."""
        if self._refused != (now.attempt, refused):
            self._refused = now.attempt, refused
            self._say(f"{', '.join(lost)} lost, and no spare takes its place: {refused}")
        Peers(self._spec.job_dir, self._spec.nnodes, now.attempt, self._say).tell()

    def _end(self, now: Seats) -> None:
        seats.end(self._spec.job_dir, now.attempt)
        self.over = True

    def _report(self, host: str, now: Seats) -> Report:
        found = seats.read_report(self._spec.job_dir, host)
        return found if found is not None and found.attempt == now.attempt else Report(now.attempt)

    def _lost(self, now: Seats, reports: dict[str, Report]) -> Why:
        """The nodes that train and are lost, with why."""
        found: Why = {}
        for host, report in reports.items():
            if report.code is not None and not report.recorded:
                found[host] = _AGENT_KILLED
            elif report.gone and report.code is None:
                found[host] = _KEEPER_GONE
            elif report.code is None and host != self._host:
                self._watch(host)
        watched = [host for host, report in reports.items() if report.code is None and host != self._host]
        found.update(dict.fromkeys(self._silence.lost([h for h in watched if h not in found]), _SILENT))
        return {host: found[host] for host in now.nodes if host in found}

    def _is_undecided(self, now: Seats, lost: Why) -> bool:
        """Whether another node is silent, and not yet for long enough: two losses at once are one replacement. Who has
        begun to decide just now has not seen yet which spares live."""
        others = [host for host in (*now.nodes, *now.spares) if host not in lost and host != self._host]
        suspect = [host for host in others if self._watch(host) and self._silence.is_suspect(host)]
        undecided = [host for host in suspect if host not in self._silence.lost(suspect)]
        just_begun = time.monotonic() - (self._leads_since or 0.0) < BEATS * self._silence.every_s
        return bool(lost) and (just_begun or bool(undecided))

    def _is_ready(self, host: str, now: Seats) -> bool:
        if host == self._host:
            return True
        self._watch(host)
        there = seats.read_report(self._spec.job_dir, host)
        return there is not None and not there.gone and not self._silence.is_suspect(host)

    def _is_gone(self, host: str, now: Seats) -> bool:
        found = seats.read_report(self._spec.job_dir, host)
        if found is None:
            return time.monotonic() - self._began > _NEVER_THERE_S
        self._watch(host)
        return found.gone or bool(self._silence.lost([host]))

    def _watch(self, host: str) -> bool:
        self._silence.look(host, seats.report_path(self._spec.job_dir, host))
        return self._silence.has_been_there(host)
