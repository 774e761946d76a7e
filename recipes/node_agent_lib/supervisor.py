"""One node's life: lock, startup commands, training, end, and a record of it that is true whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass
from typing import Callable

from . import chain, command, files, lock, nodes, procs, records, room, stops, verdict, words, worker
from .decision import DIVERGED
from .finish import remove_secrets, set_aside, settle, under_slurm
from .hang import HangWatch
from .journal import Journal
from .limits import TimeLimit
from .log import AgentLog, tail
from .loop import Loop
from .peers import EVERY_S, Peers
from .records import Failure, Stop
from .spec import Spec, SpecError
from .startup import SecretsMissing, Startup
from .training import Training, kill_rest

_SECOND_SIGNAL_S = 1.0  # one Ctrl-C can arrive twice
_BARRIER_S = 30.0  # torchrun after its last rank, where its exit barrier cannot be reached any more
_FAILED_BARRIER_S = 2.0  # the same where a node has failed: nothing is saved any more, and Slurm's KillWait runs
_POLITE_S = 3.0
_RECORD_PATIENCE_S = 30.0
_LOST_NODE_S = 60.0  # for the former attempt's agent, on a node that Slurm has lost, to see that it was given up


class NodeFailure(Exception):
    """The node cannot go on; becomes the record's failure. `victim`: because of something else that failed."""

    def __init__(self, code: int, error: str, victim: bool = False, at: float | None = None) -> None:
        super().__init__(error)
        self.code = code
        self.victim = victim
        self.at = at


class Superseded(Exception):
    """A later attempt of the job has begun: nothing of this one may write any more."""


class Stopped(Exception):
    """The job was asked to stop before there was anything to stop."""


@dataclass(frozen=True)
class Parent:
    """The process whose end stops the job."""

    pid: int
    start: int | None


class Supervisor:
    """Contract: one per process, used on the main thread; job_dir and its logs/ and nodes/ exist."""

    def __init__(self, spec: Spec, node: int, agent: str, log: AgentLog, parent: Parent | None) -> None:
        self._spec = spec
        self._node = node
        self._agent = agent
        self._log = log
        self._parent = parent
        self._journal = Journal(spec, node, log)
        self._record = self._journal.record
        self._peers = Peers(spec.job_dir, spec.nnodes, self._record.attempt, log.say)
        self._loop = Loop()
        self._limit = TimeLimit(os.environ, spec.stop_grace_s, time.time())
        self._hangs = HangWatch(spec, self._journal, self._peers, self._loop.reap)
        self._directory = ""
        self._lock: int | None = None
        self._force = False
        self._deadline = 0.0
        self._training: Training | None = None

    def run(self, ready: Callable[[], None]) -> int:
        """Supervise to the end; `ready` is called once nodes/<k>.json is there. Returns the exit code."""
        if self._node == 0:
            set_aside(self._spec.job_dir)
        self._journal.save()
        ready()
        self._journal.event("started", host=self._record.host)
        if self._node == 0 and not (under_slurm() and "LAUNCH_ATTEMPT" in os.environ):  # `begin` has done it there
            chain.note_beginning(self._spec, self._record, self._log.say)
            room.keep_if_possible(self._spec.job_dir, self._log.say)
        try:
            self._work()
        except Stopped:
            pass
        except Superseded:
            return self._vanish()
        except NodeFailure as failure:
            self._fail(failure.code, str(failure), victim=failure.victim, at=failure.at)
        except Exception as error:
            self._fail(1, "node agent: " + worker.error_line(error), traceback.format_exc())
        return self._end()

    def _work(self) -> None:
        if not procs.adopt_orphans():
            self._log.say("no child subreaper here: a process that leaves its group may outlive the job")
        self._directory = tempfile.mkdtemp(prefix="node-agent-")
        if self._node == 0:
            self._take_lock()
        self._train(self._start_up())

    def _take_lock(self) -> None:
        os.makedirs(self._spec.run_dir, exist_ok=True)
        try:
            patience_s = _LOST_NODE_S if self._record.attempt else lock.PATIENCE_S
            self._lock = lock.take(self._spec.run_dir, self._spec.job_id, self._log.say, patience_s)
        except lock.LockRefused as refused:
            raise NodeFailure(1, str(refused)) from None

    def _tick(self) -> None:
        for signum in self._loop.wait():
            self._take_signal(signum)
        if self._parent and self._loop.due("parent", 1.0) and not procs.alive(self._parent.pid, self._parent.start):
            self._parent = None
            self._ask_to_stop(signal.SIGTERM, "the process that started the job is gone")
        self._journal.poll_metrics()
        if self._loop.due("peers", EVERY_S):
            self._peers.look()
            self._look_around()
        if self._loop.due("heartbeat", self._spec.heartbeat_s):
            self._journal.save()

    def _look_around(self) -> None:
        """What others may have written, and the clock."""
        if chain.superseded(self._spec.job_dir, self._record.attempt):
            raise Superseded
        stop = stops.path_of(self._spec.job_dir, self._spec.run_dir)
        if stop:
            self._ask_to_stop(signal.SIGTERM, stop)
        elif self._node == 0 and self._limit.is_near(self._journal.progress, time.time()):
            self._ask_to_stop(signal.SIGTERM, verdict.TIME_LIMIT)

    def _take_signal(self, signum: int) -> None:
        stop = self._record.stop
        if stop is None:
            self._ask_to_stop(signum, "signal")
        elif signum in (signal.SIGTERM, signal.SIGINT) and time.time() - stop.time >= _SECOND_SIGNAL_S:
            self._log.say(f"{procs.signal_name(signum)} again: killing")
            self._force = True

    def _ask_to_stop(self, signum: int, reason: str) -> None:
        if self._record.stop is not None:
            return
        name = procs.signal_name(signum)
        self._record.stop = Stop(name, signum, time.time(), reason)
        self._deadline = time.monotonic() + self._spec.stop_grace_s
        self._log.say(f"stopping: {name} ({reason})")
        self._journal.event("stopping", signal=name, reason=reason)
        self._journal.save()

    # before the training

    def _start_up(self) -> dict[bytes, bytes]:
        """The training's environment: this process's, the spec's, the secrets', and what the commands made of it."""
        spec = self._spec
        if not os.path.isdir(spec.code_dir):
            raise NodeFailure(2, f"code_dir {spec.code_dir} is no directory")
        if not os.path.isdir(spec.directory):
            raise NodeFailure(2, f"working directory {spec.directory}: there is none on this node or in its container")
        environ = {**os.environb, **_job_environment(spec)}
        environ.update({_encode(name): _encode(value) for name, value in spec.env.items()})
        commands = spec.setup_lines + spec.startup_commands
        if not commands and spec.secrets_file is None:
            return environ
        self._journal.enter("startup")
        try:
            startup = Startup(self._directory, commands, spec.secrets_file)
        except SecretsMissing as missing:
            raise NodeFailure(1, str(missing)) from None
        self._log.say(f"startup: {len(commands)} lines")
        written = self._log.size()
        code = self._wait_for_startup(startup.start(spec.directory, environ, self._log.fd))
        outcome = startup.outcome()
        self._journal.hide([os.fsdecode(value) for value in outcome.secrets.values()])
        if code != 0 or outcome.environ is None:
            raise NodeFailure(code or 1, self._journal.redact(words.of_startup(code, outcome, self._log.path, written)))
        return outcome.environ

    def _wait_for_startup(self, pid: int) -> int:
        while pid not in self._loop.ended:
            self._tick()
            if self._record.stop is not None:
                procs.send(pid, signal.SIGTERM, group=True)
                raise Stopped
            if self._peers.failed:
                raise NodeFailure(1, "ended during startup: another node failed", victim=True)
        return _exit_code(self._loop.ended.pop(pid))

    # the training

    def _train(self, environ: dict[bytes, bytes]) -> None:
        spec = self._spec
        head = self._head(environ)
        python = command.find_python(spec.python, environ)
        if python is None:
            raise NodeFailure(127, f"python {spec.python!r} was not found on this node or in its container")
        if not os.path.exists(spec.script_path):
            raise NodeFailure(2, f"script {spec.script_path} does not exist")
        argv = command.training_command(spec, python, self._agent, self._directory, self._node, head)
        training = Training(self._directory, self._own_ranks(), self._journal.redact, spec.restarts)
        training.prepare(worker.Context(spec.job_dir, self._record.host))
        self._journal.follow_metrics()
        self._hangs.prepare(python, environ)
        self._tick()
        if self._record.stop is not None:
            raise Stopped
        self._training = training
        written = self._log.size()
        training.start(argv, spec.directory, self._complete(environ, head), self._log.fd)
        self._log.say(f"started {spec.ranks_per_node} ranks of {spec.script}: pid {training.pid}")
        self._journal.enter("running")
        self._watch(training)
        self._judge_launcher(training, written)

    def _head(self, environ: dict[bytes, bytes]) -> str | None:
        if self._spec.nnodes == 1:
            return None
        try:
            return nodes.head_host({os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()})
        except SpecError as error:
            if self._spec.launch == "python":  # one process a node needs no meeting point
                return None
            raise NodeFailure(2, str(error)) from None

    def _own_ranks(self) -> tuple[int, ...]:
        count = self._spec.ranks_per_node
        return tuple(range(self._node * count, (self._node + 1) * count))

    def _complete(self, environ: dict[bytes, bytes], head: str | None) -> dict[bytes, bytes]:
        spec = self._spec
        result = dict(environ)
        result[worker.AGENT_DIR.encode()] = os.fsencode(self._directory)
        result[b"PWD"] = os.fsencode(spec.directory)
        if spec.launch == "python":
            result.update(command.python_environment(spec, self._node, head))
            return result
        result.update(command.torchrun_environment(environ))
        if spec.restarts:
            result[b"LAUNCH_LAUNCHER"] = b"ft"
        threads = command.omp_threads(spec, environ)
        if threads is not None:
            result[b"OMP_NUM_THREADS"] = str(threads).encode()
            self._log.say(f"no GPU visible: OMP_NUM_THREADS={threads} for each of {spec.nproc_per_node} ranks")
        return result

    def _watch(self, training: Training) -> None:
        last_rank_ended: float | None = None
        while training.pid not in self._loop.ended:
            self._tick()
            training.refresh()
            self._note_ranks(training)
            # under ft_launcher a failed rank is started again: only its own end is the node's failure
            if training.failed_on_its_own() and self._record.stop is None and not self._spec.restarts:
                self._peers.tell()
            if self._record.stop is None and self._loop.due("hang", 1.0):
                self._end_hung(training)
                self._end_diverged(training)
            if self._record.stop is not None:
                self._stop(training)
            elif self._peers.failed:
                self._give_up(training)
            if not training.all_ended():
                last_rank_ended = None
            else:
                last_rank_ended = last_rank_ended or time.monotonic()
                failed = not training.succeeded() and not self._spec.restarts
                hopeless = self._record.stop is not None or self._peers.failed or failed
                patience_s = _FAILED_BARRIER_S if self._peers.failed else _BARRIER_S
                if hopeless and time.monotonic() - last_rank_ended > patience_s:
                    training.kill()

    def _end_hung(self, training: Training) -> None:
        hung = self._hangs.look(training)
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

    def _note_ranks(self, training: Training) -> None:
        for record in training.replaced:
            self._log.say(f"rank {record.rank} was started again; before: {record.error or f'exit code {record.code}'}")
            self._journal.event("restarted", rank=record.rank, error=record.error, step=self._record.step)
        training.replaced.clear()
        ranks = {str(record.rank): record.pid for record in training.living()}
        if ranks != self._record.ranks:
            self._record.ranks = ranks
            self._journal.save()

    def _stop(self, training: Training) -> None:
        if not self._force and time.monotonic() <= self._deadline:
            training.ask()
            return
        if training.killed is None:
            self._log.say(f"killing the ranks, {time.time() - _stop_time(self._record.stop):.0f} s after the signal")
        training.kill()

    def _give_up(self, training: Training) -> None:
        if training.records and not self._peers.grace_is_over:
            return
        if training.killed is None:
            self._log.say("killing the ranks: another node failed")
        training.kill()

    def _judge_launcher(self, training: Training, written: int) -> None:
        """The launcher's own end matters only where the ranks do not tell more."""
        training.refresh()
        name = "ft_launcher" if self._spec.restarts else "torchrun"
        status = self._loop.ended.pop(training.pid or 0)
        code = _exit_code(status)
        if code == 0 or self._record.stop is not None or any(record.code for record in training.records.values()):
            return
        if training.succeeded():
            self._log.say(f"{name} ended with {code} after all ranks had ended with 0: not counted")
            return
        if training.killed is not None:
            raise NodeFailure(1, "ended because another node failed", victim=True)
        if os.WIFSIGNALED(status):
            raise NodeFailure(code, f"{name} was killed by {procs.signal_name(os.WTERMSIG(status))}")
        line = words.telling_line(tail(self._log.path, written)) or f"{name}: exit code {code}"
        raise NodeFailure(code, self._journal.redact(line))

    # the end

    def _fail(
        self, code: int, error: str, trace: str | None = None, victim: bool = False, at: float | None = None
    ) -> None:
        trace = self._journal.redact(trace) if trace else None
        self._record.failure = Failure(code, self._journal.redact(error), at or time.time(), trace, victim)

    def _end(self) -> int:
        killing = self._force or (self._training is not None and self._training.killed is not None)
        left = kill_rest(os.getpid(), self._loop.reap, 0.0 if killing else _POLITE_S)
        if left:
            self._log.say(f"{left} processes could not be killed")
        if self._training is not None:
            self._training.refresh()
            self._record.records = [self._training.records[rank] for rank in sorted(self._training.records)]
        self._journal.poll_metrics(to_end=True)
        self._record.state, self._record.ranks = "ended", {}
        self._record.code = int(verdict.judge([self._record], None)["code"])
        if verdict.failed_first([self._record]) and self._record.stop is None:
            self._peers.tell()
        self._clean_up()
        return self._report()

    def _clean_up(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        # Under Slurm the job may be requeued; `finish`, which knows how all nodes have ended, removes the file there.
        if self._spec.secrets_file is not None and self._node == 0 and not under_slurm():
            remove_secrets([self._spec.secrets_file], self._log.say)
        if self._lock is not None:
            os.close(self._lock)

    def _vanish(self) -> int:
        """End without a word: job directory and run belong to the later attempt."""
        self._log.say("a later attempt has begun elsewhere: killing the ranks of this one")
        kill_rest(os.getpid(), self._loop.reap, 0.0)
        shutil.rmtree(self._directory, ignore_errors=True)
        return 1

    def _report(self) -> int:
        files.when_full(lambda: room.release(self._spec.job_dir))
        self._journal.save(_RECORD_PATIENCE_S)
        code = self._record.code or 0
        found = records.read_nodes(self._spec.job_dir)
        if not verdict.complete(found, self._spec.nnodes):
            self._log.say(f"ended with code {code}; other nodes have not")
            return code
        try:
            result = settle(self._spec.job_dir, found, self._spec.nnodes)
        except OSError as error:
            self._log.say(f"exit.json: {error}")
            return code
        if not under_slurm():  # `finish` does it there
            chain.note_end(self._spec.job_dir, found, result, self._log.say)
            room.release(self._spec.job_dir)
        self._log.say(words.of_job(result))
        return int(result["code"])


def _job_environment(spec: Spec) -> dict[bytes, bytes]:
    """What every script and startup command may read; the spec's own env may say otherwise."""
    values = {
        "LAUNCH_JOB_ID": spec.job_id,
        "LAUNCH_JOB_DIR": spec.job_dir,
        "LAUNCH_RUN_NAME": spec.run_name,
        "LAUNCH_RUN_DIR": spec.run_dir,
    }
    return {_encode(name): _encode(value) for name, value in values.items()}


def _encode(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _stop_time(stop: Stop | None) -> float:
    return stop.time if stop else 0.0
