"""`run` of a job that has spare nodes: one process a node for the whole Slurm job, which starts the node's agent.

    keeper (this process) ── agent of attempt N, where the node trains in it: the same as that of a job without spares

A node that has lost its power or its keeper shows by its silence (silence.py), an agent that was killed by its keeper,
an error that accuses a node's hardware by the attempt's end. One keeper, the first in Slurm's order that lives, decides
for all whether a spare takes the lost node's rank (replacing.py); each one looks at those before it, so that there is
always one, and only that one looks at all. Others learn it from a file: they kill what they have of the former attempt,
and start an agent of the next one with the rank that they have there. Where there is no next one, they end, and the
batch script does what it does for every job.

Where the batch script is lost with its node, Slurm keeps the job and its steps for ever (22.05, `--no-kill`). Then the
keeper that decides does what the script's end would, and takes the job out of Slurm.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import contract

from . import chain, disk_reserve, nodes, procs, redaction, seats, slurm, venv
from .deciding import Decider
from .files import read_json, when_full, write_json
from .log import AgentLog
from .loop import Loop
from .outside import Outside
from .records import exit_path, node_path
from .seats import Report, Seats
from .silence import Silence
from .spec import Spec
from .startup import secrets_in
from .training import kill_rest


def main(spec: Spec, path: str, agent: str) -> int:
    """The life of one node's keeper; the exit code is that of its last agent, 0 of a spare.

    Raises:
        SpecError: the job's nodes cannot be told.
        OSError: nothing can be written in the job's directory.
    """
    redaction.arm(secrets_in(spec.secrets_file))
    when_full(lambda: disk_reserve.release(spec.job_dir))
    now = seats.first(os.environ, spec.nnodes, chain.attempt(os.environ))
    host = _own_name([*now.nodes, *now.spares])
    os.makedirs(os.path.join(spec.job_dir, seats.KEEPERS), exist_ok=True)
    log = AgentLog(os.path.join(spec.job_dir, contract.LOGS, f"keeper-{host}.log"), now.rank(host) or 0, echo=False)
    return Keeper(spec, path, agent, host, now, log).run()


def _own_name(hosts: list[str]) -> str:
    name, number = nodes.host_name(os.environ), os.environ.get("SLURM_NODEID", "")
    return name if name in hosts or not number.isdigit() or int(number) >= len(hosts) else hosts[int(number)]


class Keeper:
    """Contract: one per process, on its main thread."""

    def __init__(self, spec: Spec, path: str, agent: str, host: str, now: Seats, log: AgentLog) -> None:
        self._spec, self._path, self._agent, self._host, self._log = spec, path, agent, host, log
        self._now = now
        self._hosts = [*now.nodes, *now.spares]
        self._outside = Outside(spec.job_dir, spec.run_dir, spec.nnodes)
        silence = Silence(spec.nnodes)
        self._beat_s, self._beat_at = silence.every_s, 0.0
        self._decider = Decider(spec, host, self._hosts, silence, log.say)
        self._said = Report(now.attempt)
        self._child: int | None = None
        self._code = 0
        self._asked = False  # to stop: by a signal, which the agent gets, too
        self._loop = Loop(log.arriving, log.take)
        procs.adopt_orphans()

    def run(self) -> int:
        """Until the Slurm job's last attempt has ended."""
        self._start()
        while not self._is_over():
            self._pass_on(self._loop.wait())
            if self._child is not None and self._child in self._loop.ended:
                self._ended(self._child)
            if self._outside.changed():
                self._follow()
            self._beat()
            if self._child is None and self._asked:
                break
            if not self._asked and self._decider.decide(self._now):
                self._follow()
        self._stop()
        venv.forget(os.environ)  # of a spare that was not taken
        self._say(Report(self._now.attempt, self._code, True, gone=True))
        if self._decider.is_alone(self._now):
            self._end_without_batch_script()
        return self._code

    def _is_over(self) -> bool:
        return self._child is None and self._decider.over

    def _follow(self) -> None:
        """Take in the seats of a further attempt, or that there is none."""
        found = seats.latest(self._spec.job_dir, self._now)
        if found.attempt != self._now.attempt:
            self._stop()
            self._now, self._code = found, 0
            self._start()
            if self._host in found.lost:
                self._log.say(f"attempt {found.attempt + 1} goes on without this node")
                self._decider.over = True
        self._decider.over = self._decider.over or seats.is_over(self._spec.job_dir, self._now.attempt)

    def _start(self) -> None:
        """The agent of this attempt, where this node has a rank in it."""
        rank = self._now.rank(self._host)
        self._say(Report(self._now.attempt))
        if rank is None or self._asked:
            return
        head = self._now.nodes[0]
        environ = {**os.environ, contract.NODE_RANK_VAR: str(rank), contract.ATTEMPT_VAR: str(self._now.attempt)}
        environ[contract.HEAD_HOST_VAR] = nodes.address(head)
        self._log.say(f"attempt {self._now.attempt + 1}: rank {rank} of {self._spec.nnodes} nodes, head {head}")
        keeper = os.getpid()
        process = subprocess.Popen(
            [sys.executable, self._agent, "run", self._path],
            env=environ,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: procs.die_with_parent(keeper),
        )
        process.returncode = 0  # it is reaped here
        self._child = process.pid

    def _pass_on(self, signals: list[tuple[int, float]]) -> None:
        """Slurm's signals reach the step's first process, and depending on its plugins all others."""
        for signum, _ in signals:
            self._asked = True
            if self._child is not None:
                procs.send(self._child, signum)

    def _ended(self, agent: int) -> None:
        """Say how the agent has ended; nothing of it is left running."""
        self._child, self._code = None, procs.exit_code(self._loop.ended.pop(agent))
        kill_rest(os.getpid(), self._loop.reap, 0.0)
        record = read_json(node_path(self._spec.job_dir, self._now.rank(self._host) or 0)) or {}
        recorded = (record.get("attempt"), record.get("state")) == (self._now.attempt, contract.NODE_ENDED)
        self._log.say(f"its agent has ended with {self._code}{'' if recorded else ' and left no record'}")
        self._say(Report(self._now.attempt, self._code, recorded))

    def _stop(self) -> None:
        """Kill what there is of the former attempt."""
        if self._child is not None:
            procs.send(self._child, signal.SIGKILL)
            self._child = None
        kill_rest(os.getpid(), self._loop.reap, 0.0)
        self._loop.ended.clear()

    def _say(self, said: Report) -> None:
        self._said = said
        try:
            seats.report(self._spec.job_dir, self._host, said)
        except OSError as error:
            self._log.say(f"{seats.KEEPERS}/{self._host}: {error.strerror}")

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at < self._beat_s:
            return
        self._beat_at = time.monotonic()
        try:
            os.utime(seats.report_path(self._spec.job_dir, self._host))
        except OSError:
            self._say(self._said)  # it could not be written before

    def _end_without_batch_script(self) -> None:
        """What its end would do."""
        self._log.say(f"{self._hosts[0]} is lost, and the batch script with it: this keeper ends the Slurm job")
        environ: dict[str, Any] = {**os.environ, contract.ATTEMPT_VAR: str(self._now.attempt)}
        done = subprocess.run([sys.executable, self._agent, "finish", self._spec.job_dir], env=environ)
        self._code = done.returncode
        try:
            path = exit_path(self._spec.job_dir)
            write_json(path, {**(read_json(path) or {}), contract.OWN_SCANCEL: True})
            slurm.end_own()
        except (OSError, slurm.SlurmError) as error:
            self._log.say(f"Slurm job {slurm.own_id()} stays until its time limit: {error}")
