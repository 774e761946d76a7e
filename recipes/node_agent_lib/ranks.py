"""This node's ranks, from their start to their end: who is told, who is killed, and what the launcher's end means."""

from __future__ import annotations

import os
import time

import contract

from . import command, image_path, meeting, messages, nodes, phases, procs, what_ran
from .control import Control
from .decision import DIVERGED
from .errors import NodeFailure, Stopped
from .hang import HangWatch
from .journal import Journal
from .rank_files import Context
from .requests import Requests
from .spec import Spec, SpecError
from .tracking import Tracking
from .training import Training
from .ulimits import Ulimits

_BARRIER_S = 30.0  # torchrun after its last rank, where its exit barrier cannot be reached any more
_FAILED_BARRIER_S = 2.0  # the same where a node has failed: nothing is saved any more, and Slurm's KillWait runs


class Ranks:
    """Contract: one per process; `run` is called once. `directory` is private to the agent, `agent` its program.

    `spec` and `agent` are those of the copy of the job's code, where `copied`.
    """

    def __init__(
        self, spec: Spec, journal: Journal, control: Control, agent: str, directory: str, *, copied: bool = False
    ) -> None:
        self.training: Training | None = None  # once it was started
        self._spec = spec
        self._journal = journal
        self._record = journal.record
        self._log = journal.log
        self._control = control
        self._peers = control.peers
        self._agent = agent
        self._directory = directory
        self._copy = spec.code_dir if copied else None
        self._hangs = HangWatch(spec, journal, control.peers, control.loop.reap)
        self._tracking = Tracking(control.loop, journal.log)
        self._requests = Requests(spec, journal, control.loop.reap)
        self._all_ended_at: float | None = None
        self._own_python: str | None = None  # the image's, where another one is taken

    def run(self, environ: dict[bytes, bytes], ulimits: Ulimits) -> None:
        """Start the ranks with these and watch them until their launcher has ended.

        Raises:
            NodeFailure: they could not be started, they hang or diverge, or the launcher failed and no rank says why.
            Stopped: the job was asked to stop before they were started.
        """
        written = self._log.size()
        training = self._start(environ, ulimits)
        past = phases.Past(self._directory)
        try:
            while training.pid not in self._control.loop.ended:
                self._control.tick()
                self._check(training, past)
        except NodeFailure:  # they hang or diverge; where a later attempt has begun, the metrics are that one's
            self._end_tracking(hurried=True)
            raise
        finally:
            self._note_past(past)
        self._end_tracking(hurried=False)
        self._judge_launcher(training, written)

    def _start(self, environ: dict[bytes, bytes], ulimits: Ulimits) -> Training:
        spec, number = self._spec, self._record.node
        head = self._head(environ)
        python = command.find_python(spec.python, environ)
        self._own_python = image_path.hidden(spec.python, python, environ)
        if python is None:
            error = f"python {spec.python!r} was not found on this node or in its container; `python` takes a path"
            raise NodeFailure(contract.NOT_FOUND, self._hint(error))
        if not os.path.exists(spec.script_path):
            raise NodeFailure(contract.CANNOT_BE_USED, f"script {spec.script_path} does not exist")
        port = spec.rendezvous.port
        if port is not None and number == 0 and spec.launch != "python" and not meeting.is_free(port):
            # torchrun would take whoever has it for the store, and wait for it
            error = f"{meeting.taken(port, self._record.host)}; rdzv_port of the profile names another one"
            raise NodeFailure(1, error)
        argv = command.training_command(spec, python, self._agent, self._directory, number, head)
        own = range(number * spec.ranks_per_node, (number + 1) * spec.ranks_per_node)
        training = Training(self._directory, tuple(own), spec.restarts)
        training.prepare(Context(spec.job_dir, self._record.host, spec.backend, self._copy))
        self._journal.follow_metrics()
        self._hangs.prepare(python, environ)
        self._requests.prepare(python, environ)
        self._control.tick()
        if self._control.stop is not None:
            raise Stopped
        self.training = training
        threads = command.omp_threads(spec, environ)
        if threads is not None:
            self._log.say(f"no GPU visible: OMP_NUM_THREADS={threads} for each of {spec.nproc_per_node} ranks")
        complete = command.training_environment(spec, environ, self._directory, number, head)
        self._record.log_starts = {
            str(rank): _size(os.path.join(spec.job_dir, contract.rank_log(rank))) for rank in own
        }
        training.start(argv, spec.directory, complete, self._log.output, ulimits)
        self._log.say(f"started {spec.ranks_per_node} ranks of {spec.script}: pid {training.pid}")
        self._journal.note_phase(contract.PHASE_LAUNCHER)
        self._journal.enter(contract.NODE_RUNNING)
        if number == 0 and spec.track:
            place = (spec.job_dir, spec.run_dir, spec.run_name)
            self._tracking.start(spec.track, python, self._agent, place, environ)
        what_ran.start(python, self._agent, spec.job_dir, number, self._record.attempt, environ)
        return training

    def _head(self, environ: dict[bytes, bytes]) -> str | None:
        if self._spec.nnodes == 1:
            return None
        try:
            return nodes.head_host({os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()})
        except SpecError as error:
            if self._spec.launch == "python":  # one process a node needs no meeting point
                return None
            raise NodeFailure(contract.CANNOT_BE_USED, str(error)) from None

    def _end_tracking(self, hurried: bool) -> None:
        self._journal.poll_metrics(to_end=True)
        self._tracking.end(lambda: hurried or self._control.stop is not None)

    def _check(self, training: Training, past: phases.Past) -> None:
        training.refresh()
        self._note_ranks(training)
        if self._control.loop.due("phase", 1.0):
            self._note_phase(training)
            self._note_past(past)
        stopping = self._control.stop is not None
        # under ft_launcher a failed rank is started again: only its own end is the node's failure
        if training.failed_on_its_own() and not stopping and not self._spec.restarts:
            self._control.note_failure()
            self._peers.tell()
        if not stopping and self._control.loop.due("hang", 1.0):
            self._end_hung(training)
            self._end_diverged(training)
        if not stopping and self._control.loop.due("requests", 1.0):
            self._requests.check(training)
        if stopping:
            self._stop(training)
        elif self._peers.failed:
            self._give_up(training)
        self._end_launcher(training)

    def _note_past(self, past: phases.Past) -> None:
        if self._record.node == 0:  # whose phases stand for the job's
            self._journal.past_phases(contract.BY_RANK, past.new())

    def _note_ranks(self, training: Training) -> None:
        for record in training.replaced:
            self._log.say(f"rank {record.rank} was started again; before: {record.error or f'exit code {record.code}'}")
            step = self._record.step
            self._journal.event(contract.EVENT_RESTARTED, rank=record.rank, error=record.error, step=step)
        training.replaced.clear()
        ranks = {str(record.rank): record.pid for record in training.living()}
        if ranks != self._record.ranks:
            self._record.ranks = ranks
            self._journal.save()

    def _note_phase(self, training: Training) -> None:
        training.phase = phases.read(self._directory)
        if training.phase is not None:
            self._journal.note_phase(training.phase.text, training.phase.since)
        elif self._record.step is not None:  # a script that tells no phases
            self._journal.note_phase(None)

    def _end_hung(self, training: Training) -> None:
        hung = self._hangs.check(training)
        if hung is not None:
            self._log.say("killing the ranks: the training hangs")
            training.kill()
            raise NodeFailure(hung.code, hung.error, hung.victim, hung.time)

    def _end_diverged(self, training: Training) -> None:
        most, progress = self._spec.max_nan_steps, self._journal.progress
        if most is not None and progress is not None and progress.nan_steps >= most:
            self._log.say("killing the ranks: the loss is not a number")
            training.kill()
            raise NodeFailure(1, f"{DIVERGED}: {progress.nan_steps} steps in a row, the last one {self._record.step}")

    def _stop(self, training: Training) -> None:
        if not self._control.grace_is_over:
            training.ask()
            return
        if training.killed is None:
            asked = self._control.stop.time if self._control.stop else 0.0
            self._log.say(f"killing the ranks, {time.time() - asked:.0f} s after the signal")
        training.kill()

    def _give_up(self, training: Training) -> None:
        if training.records and not self._peers.grace_is_over:
            return
        if training.killed is None:
            self._log.say("killing the ranks: another node failed")
        training.kill()

    def _end_launcher(self, training: Training) -> None:
        """Kill a launcher that waits, after its last rank, for what cannot come any more."""
        if not training.all_ended():
            self._all_ended_at = None
            return
        self._all_ended_at = self._all_ended_at or time.monotonic()
        failed = not training.succeeded() and not self._spec.restarts
        hopeless = self._control.stop is not None or self._peers.failed or failed
        patience_s = _FAILED_BARRIER_S if self._peers.failed else _BARRIER_S
        if hopeless and time.monotonic() - self._all_ended_at > patience_s:
            training.kill()

    def _judge_launcher(self, training: Training, written: int) -> None:
        """The launcher's own end matters only where the ranks do not tell more."""
        training.refresh()
        for record in training.records.values():
            record.error = record.error and self._hint(record.error)
        name = "ft_launcher" if self._spec.restarts else "torchrun"
        status = self._control.loop.ended.pop(training.pid or 0)
        code = procs.exit_code(status)
        if not self._spec.restarts and not os.WIFSIGNALED(status):
            training.take_launchers_word(code, self._spec.launch == "python")
        if code == 0 or self._control.stop is not None or any(record.code for record in training.records.values()):
            return
        if training.succeeded():
            self._log.say(f"{name} ended with {code} after all ranks had ended with 0: not counted")
            return
        if training.killed is not None:
            raise NodeFailure(1, "ended because another node failed", victim=True)
        if os.WIFSIGNALED(status):
            raise NodeFailure(code, f"{name} was killed by {procs.signal_name(os.WTERMSIG(status))}")
        line = messages.last_error(self._log.since(written)) or f"{name}: exit code {code}"
        raise NodeFailure(code, self._hint(line))

    def _hint(self, error: str) -> str:
        return image_path.hint(error, self._own_python)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
