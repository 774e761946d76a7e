"""One node's life: lock, startup commands, training, end, and a record of it that is true whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from typing import Callable

import contract

from . import chain, choosing, code_copy, data, disk_reserve, ending, environment, gpu_model, lock, notify, procs
from .control import Control, Parent
from .error_line import error_line
from .errors import NodeFailure, Stopped, Superseded
from .finish import set_aside, under_slurm
from .journal import Journal
from .left_open import close_former, close_other_jobs
from .log import AgentLog
from .ranks import Ranks
from .spec import Spec
from .training import Training, kill_rest
from .venv import Venv

_LOST_NODE_S = 60.0  # for the former attempt's agent, on a node that Slurm has lost, to see that it was given up


class Supervisor:
    """Contract: one per process, used on the main thread; job_dir and its logs/ and nodes/ exist."""

    def __init__(self, spec: Spec, node: int, agent: str, log: AgentLog, parent: Parent | None) -> None:
        self._spec = spec
        self._agent = agent
        self._journal = Journal(spec, node, log)
        self._record = self._journal.record
        self._control = Control(spec, self._journal, parent)
        self._directory = ""
        self._lock: int | None = None
        self._ranks: Ranks | None = None
        self._copy: code_copy.Copy | None = None
        self._venv: Venv | None = None

    def run(self, ready: Callable[[], None]) -> int:
        """Supervise to the end; `ready` is called once nodes/<k>.json is there. Returns the exit code."""
        self._begin(ready)
        try:
            self._work()
        except Stopped:
            pass
        except Superseded:
            return self._vanish()
        except NodeFailure as failure:
            ending.fail(self._journal, failure.code, str(failure), victim=failure.victim, at=failure.at)
        except Exception as error:
            ending.fail(self._journal, 1, "node agent: " + error_line(error), traceback.format_exc())
        return self._end()

    def _begin(self, ready: Callable[[], None]) -> None:
        first, say = self._record.node == 0, self._journal.log.say
        if first and not under_slurm():  # there `begin` has
            close_former(self._spec.job_dir, self._record.attempt, say)
        if first:
            set_aside(self._spec.job_dir)
        self._journal.save()
        ready()
        self._journal.event(contract.EVENT_STARTED, host=self._record.host, gpu=gpu_model.model())
        if first and not (under_slurm() and contract.ATTEMPT_VAR in os.environ):  # `begin` has done it there
            chain.note_beginning(self._spec, self._record, say)
            disk_reserve.keep_if_possible(self._spec.job_dir, say)

    def _work(self) -> None:
        if not procs.adopt_orphans():
            self._journal.log.say("no child subreaper here: a process that leaves its group may outlive the job")
        self._directory = tempfile.mkdtemp(prefix="node-agent-")
        if self._spec.venv_archive is not None:
            self._venv = Venv(self._spec.venv_archive, self._journal, self._control, self._directory)
        if self._record.node == 0:
            self._take_lock()
            if self._lock is not None and lock.is_held(self._lock):
                close_other_jobs(self._spec, self._journal.log.say)
            self._choose()
        if self._venv is not None:  # startup commands may use it
            self._spec = self._venv.unpack(self._spec, os.environ)
        environ, ulimits = environment.make(self._spec, self._journal, self._control, self._directory)
        notify.hold({"notify": self._spec.notify}, environment.decoded(environ))
        if self._record.node == 0:
            data.guard(self._spec, self._record.attempt, environ, self._journal.log.say)
        spec, agent = self._with_code_at_hand(environment.decoded(environ))
        copied = self._copy is not None
        self._ranks = Ranks(spec, self._journal, self._control, agent, self._directory, copied=copied)
        self._ranks.run(environ, ulimits)

    def _with_code_at_hand(self, environ: dict[str, str]) -> tuple[Spec, str]:
        """The order and the agent's program as the ranks are to take them."""
        began = time.time()
        self._copy = code_copy.make(self._spec, self._record.attempt, environ, self._journal.log.say)
        if self._copy is None:
            return self._spec, self._agent
        past = {"phase": code_copy.PHASE, "since": began, "until": time.time()}
        self._journal.past_phases(contract.BY_AGENT, [past])
        return self._copy.of(self._spec), self._copy.agent

    def _take_lock(self) -> None:
        os.makedirs(self._spec.run_dir, exist_ok=True)
        try:
            patience_s = _LOST_NODE_S if self._record.attempt else lock.PATIENCE_S
            self._lock = lock.take(self._spec.run_dir, self._spec.job_id, self._journal.log.say, patience_s)
        except lock.LockRefused as refused:
            raise NodeFailure(1, str(refused)) from None

    def _choose(self) -> None:
        """Where no batch script has done so before its step."""
        refused = None if under_slurm() else choosing.settle(self._spec.job_dir)
        if refused:
            raise NodeFailure(1, refused)

    @property
    def _training(self) -> Training | None:
        return self._ranks.training if self._ranks else None

    def _end(self) -> int:
        ending.close(self._journal, self._control, self._training)
        self._remove_own_files()
        ending.remove_order_secrets(self._spec, self._journal)
        if self._lock is not None:
            os.close(self._lock)
        code = ending.report(self._spec, self._journal, self._control.peers)
        self._remove_python()
        return code

    def _vanish(self) -> int:
        """End without a record: job directory and run belong to the later attempt."""
        self._journal.log.say("a later attempt has begun elsewhere: killing the ranks of this one")
        kill_rest(os.getpid(), self._control.loop.reap, 0.0)
        self._remove_own_files()
        self._remove_python()
        return 1

    def _remove_python(self) -> None:
        """Last: it is tens of thousands of files, and the time after a signal is short."""
        if self._venv is not None:
            self._venv.remove()

    def _remove_own_files(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._copy is not None:
            self._copy.remove()
